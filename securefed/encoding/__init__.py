"""Numbers to words and back: tensors, layout, quantisation, scalars, lanes, and the vector that they make together.

The text is `protocols/encoding/README.md`. Needs numpy alone.
"""
