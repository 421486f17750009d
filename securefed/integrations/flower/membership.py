"""Who a node is in a job, and what it demands: from its owner's client file where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flwr.app import Context

from securefed.aggregation import Adversary, ClientId, Policy
from securefed.deployment import ClientFile, Participant
from securefed.errors import ConfigError
from securefed.integrations.flower.context_state import ContextState

__all__ = ["NODE_CONFIG_KEY", "Membership"]

NODE_CONFIG_KEY: Final = "securefed"
"""Of `Context.node_config`: the path of the client file."""
_WITHOUT_FILE: Final = Policy(adversary=Adversary("semi-honest"))


@dataclass(frozen=True, repr=False)
class Membership:
    """One node in one job.

    Attributes:
        client: its id, None where the server may choose.
        participant: its side of the protocol.
    """

    client: ClientId | None
    participant: Participant

    @classmethod
    def of(cls, context: Context, policy: Policy | None) -> Membership:
        """Of the node that this context belongs to.

        Args:
            policy: of the app; None for the file's alone, or without a file the least one.

        Raises:
            ConfigError: the client file cannot be used.
        """
        path = context.node_config.get(NODE_CONFIG_KEY)
        if path is None:
            return cls(None, Participant(ContextState(context.state), policy if policy is not None else _WITHOUT_FILE))
        if not isinstance(path, str):
            raise ConfigError(
                NODE_CONFIG_KEY,
                "the node's config names the client file: --node-config 'securefed=\"/path/client.toml\"'",
            )
        file = ClientFile.load(path)
        return cls(file.id, Participant.of(file, policy))
