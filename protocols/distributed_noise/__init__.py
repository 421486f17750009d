"""Integer noise that clients add together: README.md is the text, `reference` and `samplers` the code."""
