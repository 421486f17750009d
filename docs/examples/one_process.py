"""Federated averaging in one process: the plain loop, and the same loop with every update under a mask.

    python one_process.py

What each part is for: docs/how-to/your-own-loop.md.
"""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import torch
from torch import nn

from securefed.aggregation import Adversary, ClientIdentity, Policy, Scheme, Update
from securefed.chains import ClientChain, RoundPlan, ServerChain
from securefed.encoding.layout import Layout
from securefed.federated.model_digest import model_digest
from securefed.schemes import SCHEMES

Arrays = dict[str, np.ndarray]
ROUNDS, CLIP, BITS, MOST_EXAMPLES = 4, 1.0, 16, 100


def make_data() -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    """By client, inputs and targets: of unequal number, and no two clients see the same part of the function."""
    data = {}
    for client, examples in ((1, 40), (2, 60), (3, 80), (4, 100)):
        x = torch.randn(examples, 2, generator=torch.Generator().manual_seed(client)) + client - 2.5
        data[client] = (x, torch.sin(x[:, :1]) * x[:, 1:])
    return data


def make_model() -> nn.Module:
    """Where everybody begins."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))


def arrays(model: nn.Module) -> Arrays:
    """The trained tensors, float32, by name."""
    return {name: value.detach().numpy() for name, value in model.named_parameters()}


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[Arrays, float]:
    """One client's epoch: the change of every tensor (new - old), and the loss that it began with."""
    local = copy.deepcopy(model)
    optimizer = torch.optim.SGD(local.parameters(), lr=0.05)
    losses = []
    for _ in range(20):
        loss = nn.functional.mse_loss(local(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    old = arrays(model)
    return {name: new - old[name] for name, new in arrays(local).items()}, losses[0]


def add(model: nn.Module, mean: Arrays) -> None:
    """The server's step."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            value += torch.from_numpy(mean[name])


def plain_loop() -> Arrays:
    """What many have: the server is handed every client's update."""
    model, data = make_model(), make_data()
    for number in range(1, ROUNDS + 1):
        trained = {client: train(model, *data[client]) for client in data}
        total = sum(len(data[client][0]) for client in data)
        share = {client: len(data[client][0]) / total for client in data}
        mean = {name: sum(share[c] * trained[c][0][name] for c in data) for name in arrays(model)}
        print(f"round {number}: loss {sum(share[c] * trained[c][1] for c in data):.4f}")
        add(model, mean)
    return arrays(model)


def secure_loop(scheme: Scheme, rounding_keys: dict[int, bytes]) -> tuple[Arrays, list[np.ndarray]]:
    """The same, and the server is handed their mean. Gives the model and the words that the server summed."""
    model, data = make_model(), make_data()
    layout = Layout.of(arrays(model), metrics=("loss",))
    adversary = Adversary("semi-honest")  # both sides are this process: nobody lies here
    policy = Policy(frozenset({scheme.name}), adversary)
    clients = {c: ClientChain(scheme, ClientIdentity(c, layout, policy, rounding_keys[c])) for c in data}
    server = ServerChain(scheme)

    def update(client: int) -> Update:  # called in the one exchange that needs it
        change, loss = train(model, *data[client])
        return Update(change, digest, weight=len(data[client][0]), metrics={"loss": loss})

    words = []
    plans = [RoundPlan(n, tuple(data), adversary, layout, BITS, CLIP, MOST_EXAMPLES) for n in range(1, ROUNDS + 1)]
    for plan, following in zip(plans, [*plans[1:], None], strict=True):
        digest = model_digest("one process", arrays(model))
        server.begin(plan, digest, following)
        while server.aggregate is None:
            for client, request in server.requests().items():
                server.receive(client, clients[client].reply(request, partial(update, client)))
            server.advance()
        print(f"round {plan.round_number}: loss {server.aggregate.metrics['loss']:.4f}")
        words.append(server.aggregate.words)
        add(model, server.aggregate.tensors)
    return arrays(model), words


def main() -> None:
    """Compare the three."""
    keys = {client: bytes([client]) * 32 for client in make_data()}  # fixed, so that both round the same way
    print("plain PyTorch")
    expected = plain_loop()
    print("masks")
    masked, masked_words = secure_loop(SCHEMES["masks"].make(), keys)
    print("the same integers in the clear")
    _, plain_words = secure_loop(SCHEMES["plain"].make(), keys)
    equal = all(np.array_equal(one, other) for one, other in zip(masked_words, plain_words, strict=True))
    print(f"the sum under masks is the plain sum, bit for bit: {equal}")
    away = max(float(np.abs(masked[name] - expected[name]).max()) for name in expected)
    print(f"from plain PyTorch's model at most {away:.1e} away: values are rounded to {BITS} bits of ±{CLIP:g}")


if __name__ == "__main__":
    main()
