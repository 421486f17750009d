"""One strict codec, one frozen dataclass a message. The text is `protocols/wire/README.md`."""
