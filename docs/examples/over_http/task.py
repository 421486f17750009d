"""What is trained: the part that is yours already. Server and clients both have this file."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

Arrays = dict[str, np.ndarray]

JOB = "sine, SGD 0.1, 10 steps"
"""What all sides must agree on besides the weights: any text, or a digest of your configuration file."""
CLIP, BITS, MOST_EXAMPLES = 1.0, 16, 100


def make_model() -> nn.Module:
    """Where everybody begins."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))


def load_data(client: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A client's own inputs and targets; here drawn from its id."""
    x = torch.randn(20 * client + 20, 2, generator=torch.Generator().manual_seed(client)) + client / 2 - 1
    return x, torch.sin(x[:, :1]) * x[:, 1:]


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[Arrays, int, float]:
    """One client's training: the change of every tensor (new - old), the number of examples, the first loss."""
    local = copy.deepcopy(model)
    losses = []
    for _ in range(10):
        loss = nn.functional.mse_loss(local(x), y)
        gradients = torch.autograd.grad(loss, tuple(local.parameters()))
        with torch.no_grad():
            for value, gradient in zip(local.parameters(), gradients, strict=True):
                value -= 0.1 * gradient
        losses.append(loss.item())
    old = arrays(model)
    return {name: new - old[name] for name, new in arrays(local).items()}, len(x), losses[0]


def arrays(model: nn.Module) -> Arrays:
    """The trained tensors, float32, by name; they share the model's memory."""
    return {name: value.detach().numpy() for name, value in model.named_parameters()}


def add(model: nn.Module, mean: Arrays) -> None:
    """The server's step."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            value += torch.from_numpy(mean[name])


def pack(model: nn.Module) -> bytes:
    """The weights alone, little-endian: names and shapes are known on all sides, and nothing is ever unpickled."""
    return b"".join(value.astype("<f4").tobytes() for value in arrays(model).values())


def unpack(model: nn.Module, body: bytes) -> None:
    """Write such weights into a model of the same kind."""
    flat = torch.from_numpy(np.frombuffer(body, "<f4").copy())
    nn.utils.vector_to_parameters(flat.view(sum(value.numel() for value in model.parameters())), model.parameters())
