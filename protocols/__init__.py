"""Executable specifications: the text of the README files, written once more as slow and plain Python."""
