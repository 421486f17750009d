"""Homomorphic aggregation as TenSEAL's users do it: one flat vector, and NVFlare's way, a ciphertext a tensor.

`NvflarePath` makes the same TenSEAL calls as NVFlare 2.9 (`app_opt/he`, `lighter/impl/he.py`,
`weighted_aggregation_helper.py`), without NVFlare around them. `NvflareFilters` runs the installed package itself:
install `nvflare` without its extra `he`, which wants an older TenSEAL.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "Message", "NvflareFilters", "NvflarePath", "Side", "TensealFlat", "silenced"]

DEGREE: Final = 8192
MODULUS_BITS: Final = (60, 40, 40)
SCALE: Final = 2.0**40
"""NVFlare's defaults (`HEBuilder`)."""

Floats = npt.NDArray[np.float64]
Message = list[bytes]
"""All that one party sends in a round."""


class Side(Protocol):
    """One way to add updates under encryption: what each of the three roles does in a round, from bytes to bytes."""

    def client(self, update: Mapping[str, Floats]) -> Message:
        """Encrypt one update, serialise it."""
        ...

    def server(self, uploads: Sequence[Message]) -> Message:
        """Deserialise all, add them, serialise the aggregate."""
        ...

    def holder(self, download: Message) -> object:
        """Deserialise the aggregate and decrypt it with the secret key."""
        ...

    def mean(self, opened: object) -> Floats:
        """The mean of the updates, flat, from what `holder` gave."""
        ...


@contextmanager
def silenced() -> Iterator[None]:
    """Standard output closed to native code: TenSEAL prints a warning on it for each vector of several ciphertexts."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


class _Keys:
    """A context as `HEBuilder` provisions it: symmetric encryption, with relinearisation keys, which nothing needs.

    Attributes:
        tenseal: the module.
        client, server: the context with the secret key, and the one without it, each loaded from its file's bytes.

    Raises:
        ImportError: `tenseal` is not installed.
    """

    def __init__(self) -> None:
        self.tenseal: Any = import_module("tenseal")
        context = self.tenseal.context(
            self.tenseal.SCHEME_TYPE.CKKS,
            DEGREE,
            coeff_mod_bit_sizes=list(MODULUS_BITS),
            encryption_type=self.tenseal.ENCRYPTION_TYPE.SYMMETRIC,
        )
        context.generate_relin_keys()
        context.global_scale = SCALE
        self.client, self.server = (
            self.tenseal.context_from(
                context.serialize(
                    save_public_key=secret, save_secret_key=secret, save_galois_keys=False, save_relin_keys=True
                )
            )
            for secret in (True, False)
        )


class TensealFlat:
    """All tensors one vector, in a context that everybody has."""

    def __init__(self) -> None:
        self._keys = _Keys()
        self._load = self._keys.tenseal.ckks_vector_from

    def client(self, update: Mapping[str, Floats]) -> Message:
        """See `Side`."""
        flat = np.concatenate([tensor.ravel() for tensor in update.values()])
        return [self._keys.tenseal.ckks_vector(self._keys.client, flat).serialize()]

    def server(self, uploads: Sequence[Message]) -> Message:
        """See `Side`; the sum, which the holder divides."""
        first, *others = uploads
        total = self._load(self._keys.server, first[0])
        for upload in others:
            total += self._load(self._keys.server, upload[0])
        self._clients = len(uploads)
        return [total.serialize()]

    def holder(self, download: Message) -> object:
        """See `Side`."""
        return self._load(self._keys.client, download[0]).decrypt()

    def mean(self, opened: object) -> Floats:
        """See `Side`."""
        return np.asarray(opened, np.float64) / self._clients


class NvflarePath:
    """NVFlare's calls: `HEModelEncryptor`, `HEInTimeAccumulateWeightedAggregator`, `HEModelDecryptor`, and between
    them `CKKSVectorDecomposer`, which sends every vector with the context that it belongs to.

    Args:
        steps: local iterations of every client: weights are multiplied with them before encryption, and the server
            divides by their sum.
    """

    def __init__(self, steps: int) -> None:
        self._keys = _Keys()
        self._steps = steps

    def client(self, update: Mapping[str, Floats]) -> Message:
        """See `Side`."""
        encrypt, context = self._keys.tenseal.ckks_vector, self._keys.client
        return _decomposed([encrypt(context, tensor.ravel() * np.float64(self._steps)) for tensor in update.values()])

    def server(self, uploads: Sequence[Message]) -> Message:
        """See `Side`; the mean."""
        total: list[Any] = []
        for upload in uploads:
            vectors = self._recomposed(upload)
            if total:
                total = [have + vector for have, vector in zip(total, vectors, strict=True)]
            else:
                total = [self._first(vector) for vector in vectors]
        return _decomposed([have * (1.0 / (self._steps * len(uploads))) for have in total])

    def holder(self, download: Message) -> object:
        """See `Side`."""
        key = self._keys.client.secret_key()
        return [vector.decrypt(secret_key=key) for vector in self._recomposed(download)]

    def mean(self, opened: Any) -> Floats:
        """See `Side`."""
        return np.concatenate(opened)

    @staticmethod
    def _first(vector: Any) -> Any:
        """A copy where one can be had, as `WeightedAggregationHelper.add` takes it."""
        try:
            return vector.copy()
        except (ValueError, RuntimeError):
            return vector

    def _recomposed(self, message: Message) -> list[Any]:
        tenseal = self._keys.tenseal
        return [
            tenseal.ckks_vector_from(tenseal.context_from(context), vector)
            for vector, context in zip(message[::2], message[1::2], strict=True)
        ]


def _decomposed(vectors: Sequence[Any]) -> Message:
    return [part for vector in vectors for part in (vector.serialize(), vector.context().serialize())]


class NvflareFilters:
    """The installed package's own filters, aggregator and serialiser (FOBS), in this process without its runtime.

    Args:
        steps: as in `NvflarePath`.

    Raises:
        ImportError: `nvflare` or `tenseal` is not installed.
    """

    def __init__(self, steps: int) -> None:
        self._keys = _Keys()
        self._steps = steps
        logging.getLogger("nvflare").setLevel(logging.CRITICAL)  # it misses the runtime, and says so in each call
        self._dxo: Any = import_module("nvflare.apis.dxo")
        self._fobs: Any = import_module("nvflare.fuel.utils.fobs")
        self._context: Any = import_module("nvflare.apis.fl_context").FLContext()
        self._context.set_peer_context(type(self._context)())
        self._aggregator: Any = import_module("nvflare.app_opt.he.intime_accumulate_model_aggregator")
        self._encryptor = import_module("nvflare.app_opt.he.model_encryptor").HEModelEncryptor()
        self._decryptor = import_module("nvflare.app_opt.he.model_decryptor").HEModelDecryptor()
        self._encryptor.encrypt_layers = [True]  # as at START_RUN, which loads the context from a signed file
        self._encryptor.tenseal_context = self._decryptor.tenseal_context = self._keys.client
        import_module("nvflare.apis.utils.decomposers.flare_decomposers").register()

    def client(self, update: Mapping[str, Floats]) -> Message:
        """See `Side`."""
        dxo = self._dxo
        meta = {dxo.MetaKey.NUM_STEPS_CURRENT_ROUND: self._steps}
        made = dxo.DXO(dxo.DataKind.WEIGHT_DIFF, dict(update), meta)
        return [self._fobs.dumps(self._encryptor.process(made.to_shareable(), self._context))]

    def server(self, uploads: Sequence[Message]) -> Message:
        """See `Side`."""
        constants = import_module("nvflare.app_common.app_constant").AppConstants
        reserved = import_module("nvflare.apis.fl_constant").ReservedKey
        aggregator = self._aggregator.HEInTimeAccumulateWeightedAggregator()
        aggregator.handle_event(import_module("nvflare.apis.event_type").EventType.START_RUN, self._context)
        self._context.set_prop(constants.CURRENT_ROUND, 0)
        for at, upload in enumerate(uploads):
            shareable = self._fobs.loads(upload[0])
            shareable.set_peer_props({reserved.IDENTITY_NAME: f"site-{at}"})
            shareable.add_cookie(constants.CONTRIBUTION_ROUND, 0)
            if not aggregator.accept(shareable, self._context):
                raise RuntimeError("NVFlare's aggregator did not accept an update")
        return [self._fobs.dumps(aggregator.aggregate(self._context))]

    def holder(self, download: Message) -> object:
        """See `Side`."""
        return self._decryptor.process(self._fobs.loads(download[0]), self._context)

    def mean(self, opened: object) -> Floats:
        """See `Side`."""
        return np.concatenate(list(self._dxo.from_shareable(opened).data.values()))
