"""Rounds that follow each other, of which the next one's set-up rides on the present one's messages."""

from securefed.chains.client import ClientChain
from securefed.chains.plan import RoundPlan
from securefed.chains.server import ServerChain

__all__ = ["ClientChain", "RoundPlan", "ServerChain"]
