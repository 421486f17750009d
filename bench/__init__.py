"""What anyone can run to measure: `python -m bench NAME`.

One convention: a readable table, or with `--json -` one object
`{"bench", "machine", "figures": [{"name", "value", "unit", "better", "bound"}]}` and nothing else. Variants that are
compared
run interleaved in one process; a figure is a median, or a median of ratios turn by turn, with its spread in the
table. `--quick` fits in a minute.
"""
