"""Who holds which text: the public share and one silo a client."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Corpus", "Silo", "digest_of_texts"]


@dataclass(frozen=True)
class Silo:
    """The text of one client.

    Attributes:
        name: the client's name, unique in its corpus.
        train: documents that the client trains on.
        held_out: documents that it never trains on: its own measure of what training was worth.
    """

    name: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True)
class Corpus:
    """The text of a whole federation.

    Attributes:
        public_train: documents that everybody may see: tokenizer and base model come from them. May be empty
            where a base model is given.
        public_held_out: public documents kept aside, to measure the base model.
        silos: one a client, in the clients' order.
    """

    public_train: tuple[str, ...]
    public_held_out: tuple[str, ...]
    silos: tuple[Silo, ...]

    @property
    def digest(self) -> str:
        """sha256 (hexadecimal) of all text, names and splits, in order."""
        whole = hashlib.sha256(b"securefed corpus 1")
        for texts in (self.public_train, self.public_held_out):
            whole.update(bytes.fromhex(digest_of_texts(texts)))
        for silo in self.silos:
            for texts in ((silo.name,), silo.train, silo.held_out):
                whole.update(bytes.fromhex(digest_of_texts(texts)))
        return whole.hexdigest()

    @property
    def public_digest(self) -> str:
        """sha256 (hexadecimal) of the public training text alone: what a base model depends on."""
        return digest_of_texts(self.public_train)


def digest_of_texts(texts: Iterable[str]) -> str:
    """sha256 (hexadecimal) of the texts in order; each is preceded by its length, so borders count."""
    digest = hashlib.sha256(b"securefed texts 1")
    for text in texts:
        # surrogatepass: JSON can carry lone surrogates, and a digest must never fail on text that was
        # accepted
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()
