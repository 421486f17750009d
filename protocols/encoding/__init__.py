"""From floats to ring words and back: README.md is the text, `reference` the code."""
