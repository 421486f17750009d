"""The wire format, version 1: README.md is the text, `reference` the code."""
