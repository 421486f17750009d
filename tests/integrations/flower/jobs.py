"""Jobs on the in-process grid, protected and plain."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, Result, Strategy

from securefed.aggregation import Adversary, Policy, SigningKey
from securefed.deployment.round_store import RoundStore
from securefed.integrations.flower import SecureGrid, secure
from securefed.schemes import SCHEMES
from tests.integrations.flower.inproc import InProcessGrid, Trains, plain_app, start_arrays, train
from tests.rounds import OPEN, seed

ANY_SCHEME = Policy(frozenset(SCHEMES), OPEN.adversary, 3, 2)
NUMBERS: Mapping[str, Any] = {"greatest_weight": 64, "metrics": ("loss",)}
TRUSTED = Adversary("semi-honest", corrupt=0.34)

Make = Callable[..., Strategy]


def strategy_of(kind: Make = FedAvg, nodes: int = 3, **options: Any) -> Strategy:
    given = {"fraction_evaluate": 0.0, "min_train_nodes": nodes, "min_available_nodes": nodes} | options
    return kind(**given)


def start(strategy: Strategy, grid: Any, rounds: int = 2, arrays: ArrayRecord | None = None, **options: Any) -> Result:
    initial = start_arrays() if arrays is None else arrays
    return strategy.start(grid=grid, initial_arrays=initial, num_rounds=rounds, **options)


def plain_result(
    kind: Make = FedAvg,
    rounds: int = 2,
    nodes: int = 3,
    function: Trains = train,
    arrays: ArrayRecord | None = None,
    **options: Any,
) -> Result:
    grid = InProcessGrid(plain_app(function), nodes)
    return start(strategy_of(kind, nodes, **options), grid, rounds, arrays)


def secured(
    function: Trains = train, nodes: int = 3, *, policy: Policy | None = None, configs: Any = None, **options: Any
) -> tuple[InProcessGrid, SecureGrid]:
    """A grid of nodes whose app is wrapped, and the protected grid around it."""
    inner = InProcessGrid(secure(plain_app(function), policy=policy), nodes, configs)
    return inner, SecureGrid(inner, **(dict(NUMBERS) | options))


def client_files(
    folder: Path, nodes: int = 3, *, policy: str = "", identities: bool = False
) -> dict[int, dict[str, Any]]:
    """Node configs that name a client file for each node, with fixed rounding keys; client 2, 3 … are nodes 11, 12 …"""
    secrets = {at + 2: seed(f"identity {at}") for at in range(nodes)}
    roster = {client: SigningKey(secret).public for client, secret in secrets.items()}
    configs = {}
    for at, (client, secret) in enumerate(secrets.items()):
        own = folder / f"client-{client}"
        (own / "state").mkdir(parents=True, mode=0o700)
        (own / "state" / "rounding.key").write_bytes(seed(f"rounding {client}"))
        text = f"id = {client}\n"
        if identities:
            write_key(own, client, secret)
            write_roster(own, roster)
            text += 'key = "identity.key"\nidentities = "identities.json"\n'
        (own / "client.toml").write_text(text + policy)
        configs[11 + at] = {"securefed": str(own / "client.toml")}
    return configs


def write_key(folder: Path, client: int, secret: bytes) -> None:
    (folder / "identity.key").write_text(
        json.dumps({"kind": "securefed identity key", "version": 1, "id": client, "seed": secret.hex()})
    )
    (folder / "identity.key").chmod(0o600)


def write_roster(folder: Path, roster: Mapping[int, bytes]) -> Path:
    clients = {str(client): public.hex() for client, public in roster.items()}
    path = folder / "identities.json"
    path.write_text(json.dumps({"kind": "securefed identity roster", "version": 1, "clients": clients}))
    return path


def numbered(folder: Path) -> Path:
    """A checkpoint folder whose first round is number 1: rounding depends on the number."""
    RoundStore(folder / "rounds").store_number(0)
    return folder


def single_precision() -> ArrayRecord:
    return ArrayRecord({name: array for name, array in start_arrays().items() if name != "h"})


def values(result: Result | ArrayRecord) -> dict[str, np.ndarray[Any, Any]]:
    arrays = result if isinstance(result, ArrayRecord) else result.arrays
    return {name: array.numpy() for name, array in arrays.items()}


def assert_close(got: Result, wanted: Result, tolerance: float = 2e-6) -> None:
    found, expected = values(got), values(wanted)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        allowed = max(tolerance, 2 * float(np.finfo(tensor.dtype).eps) * max(1.0, float(np.abs(tensor).max())))
        np.testing.assert_allclose(found[name].astype(float), tensor.astype(float), rtol=0, atol=allowed, err_msg=name)


def assert_same(got: Result, wanted: Result) -> None:
    for name, tensor in values(wanted).items():
        np.testing.assert_array_equal(values(got)[name], tensor, err_msg=name)


def app_of(function: Trains) -> ClientApp:
    return secure(plain_app(function))
