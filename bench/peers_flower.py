"""Flower's SecAgg+: its functions, and the last stage of its own workflow on a round that is made here.

Everything is looked up by name when it is measured: `flwr` belongs to the extra `peers`, and most who run benches or
check types do not have it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["FlowerMasks", "FlowerUnmask"]

_MODULUS: Final = 2**32
"""The workflow's default, and its greatest."""
_SECURE: Final = "flwr.common.secure_aggregation"
_ROUND: Final = 1


class FlowerMasks:
    """What a client does for each neighbour: a mask from a fresh seed, added to its vector.

    Raises:
        ImportError: `flwr` is not installed.
    """

    def __init__(self, values: int) -> None:
        os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
        self._random = import_module(f"{_SECURE}.secaggplus_utils").pseudo_rand_gen
        self._add = import_module(f"{_SECURE}.ndarrays_arithmetic").parameters_addition
        self._vector = [np.ones(values, np.int64)]

    def __call__(self) -> None:
        """One mask."""
        self._add(self._vector, self._random(os.urandom(32), _MODULUS, [self._vector[0].shape]))


class FlowerUnmask:
    """`SecAggPlusWorkflow.unmask_stage` itself, with the answers of its clients and the masked sum before it.

    No message is made or sent: what is timed is the stage, from combining the shares to the mean as floats.

    Args:
        clients: 1 … clients, complete graph.
        dropped: how many are lost after they shared, the last ones.
        threshold: of shares. The stage combines all that came.
        values: of the vector.
    """

    def __init__(self, clients: int, dropped: int, threshold: int, values: int) -> None:
        os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
        self._workflow = import_module("flwr.server.workflow.secure_aggregation.secaggplus_workflow")
        vars(self._workflow)["Message"] = SimpleNamespace  # theirs cannot be made outside a run of theirs
        logging.getLogger("flwr").setLevel(logging.ERROR)
        self._constants = import_module(f"{_SECURE}.secaggplus_constants")
        self._settings = import_module("flwr.server.workflow.constant")
        self._asymmetric = import_module("flwr.supercore.primitives.asymmetric")
        self._everyone = range(1, clients + 1)
        self._alive = set(self._everyone[: clients - dropped])
        self._threshold = threshold
        pairs = {client: self._asymmetric.generate_key_pairs() for client in self._everyone}
        self._public = {client: [self._asymmetric.public_key_to_bytes(pairs[client][1])] for client in pairs}
        # What the shares of each client open: its seed, or its private key where it is lost.
        self._secrets = {
            client: os.urandom(32) if client in self._alive else self._asymmetric.private_key_to_bytes(pairs[client][0])
            for client in pairs
        }
        self._answers = self._made_answers()
        self._sum = [np.array([len(self._alive)]), np.arange(values, dtype=np.int64)]
        self._masked = self._with_masks(self._sum)

    def _made_answers(self) -> list[Any]:
        create = import_module(f"{_SECURE}.crypto.shamir").create_shares
        shares = {c: create(secret, self._threshold, len(self._everyone)) for c, secret in self._secrets.items()}
        key = self._constants.Key
        return [
            SimpleNamespace(
                has_error=lambda: False,
                metadata=SimpleNamespace(src_node_id=client),
                content=self._records(
                    {
                        key.NODE_ID_LIST: list(self._everyone),
                        key.SHARE_LIST: [shares[owner][client - 1] for owner in self._everyone],
                    }
                ),
            )
            for client in sorted(self._alive)
        ]

    def _records(self, content: dict[str, Any]) -> SimpleNamespace:
        return SimpleNamespace(config_records={self._constants.RECORD_KEY_CONFIGS: content})

    def _with_masks(self, vector: list[npt.NDArray[np.int64]]) -> list[npt.NDArray[np.int64]]:
        """The sum as it comes from the survivors."""
        random = import_module(f"{_SECURE}.secaggplus_utils").pseudo_rand_gen
        shared_key = import_module(f"{_SECURE}.crypto.symmetric_encryption").generate_shared_key
        asymmetric = self._asymmetric
        total = [part.copy() for part in vector]

        def take(seed: bytes, sign: int) -> None:
            for part, mask in zip(total, random(seed, _MODULUS, [part.shape for part in total]), strict=True):
                part += sign * mask

        for client in self._everyone:
            if client in self._alive:
                take(self._secrets[client], 1)
                continue
            lost = asymmetric.bytes_to_private_key(self._secrets[client])
            for other in self._alive:
                peer = asymmetric.bytes_to_public_key(self._public[other][0])
                take(shared_key(lost, peer), 1 if other > client else -1)
        return [part % _MODULUS for part in total]

    def __call__(self) -> npt.NDArray[np.float64]:
        """The stage; gives what its strategy is given, the mean of the survivors."""
        workflow = self._workflow.SecAggPlusWorkflow(len(self._everyone), self._threshold)
        result = SimpleNamespace(parameters=None)
        state = self._workflow.WorkflowState(
            sampled_node_ids=set(self._everyone),
            active_node_ids=set(self._alive),
            threshold=self._threshold,
            clipping_range=workflow.clipping_range,
            quantization_range=workflow.quantization_range,
            mod_range=workflow.modulus_range,
            nid_to_neighbours={client: set(self._everyone) for client in self._everyone},
            nid_to_publickeys=self._public,
            aggregate_ndarrays=self._masked,
            legacy_results=[(None, result)],
        )
        grid = SimpleNamespace(send_and_receive=self._send_and_receive)
        settings = {self._settings.Key.CURRENT_ROUND: _ROUND}
        context = SimpleNamespace(
            state=SimpleNamespace(config_records={self._settings.MAIN_CONFIGS_RECORD: settings}),
            strategy=SimpleNamespace(aggregate_fit=lambda *_: (None, {})),
        )
        if not workflow.unmask_stage(grid, context, state):
            raise RuntimeError("Flower's unmask stage did not finish")
        (mean,) = import_module("flwr.common").parameters_to_ndarrays(result.parameters)
        return np.asarray(mean, np.float64)

    def _send_and_receive(self, messages: Iterable[object], timeout: float | None) -> list[Any]:
        return self._answers

    @property
    def expected(self) -> npt.NDArray[np.float64]:
        """The mean that a right stage gives: the sum was made without masks first."""
        workflow = self._workflow.SecAggPlusWorkflow(len(self._everyone), self._threshold)
        weight, values = self._sum
        clip, levels = workflow.clipping_range, workflow.quantization_range
        total = values * (2 * clip / levels) - clip - (len(self._alive) - 1) * clip
        return np.asarray(total * (levels / weight[0]))
