"""Both sides of a job whose messages something else carries: what each keeps between them, and round numbers.

`Participant` is a client, `Coordinator` the server. Neither opens a connection: an engine (Flower, NVFlare) or a
program of your own takes `JobTerms` and a request to a client, and its answer back.
"""

from securefed.deployment.client_file import ClientFile
from securefed.deployment.client_state import ClientState, MemoryState
from securefed.deployment.coordinator import Coordinator, Exchange, RoundReport
from securefed.deployment.folder_state import FolderState
from securefed.deployment.identities import make_identity, make_roster, read_roster
from securefed.deployment.participant import Participant
from securefed.deployment.policies import both
from securefed.deployment.terms import JobTerms
from securefed.federated.model_digest import model_digest

__all__ = [
    "ClientFile", "ClientState", "Coordinator", "Exchange", "FolderState", "JobTerms", "MemoryState", "Participant",
    "RoundReport", "both", "make_identity", "make_roster", "model_digest", "read_roster",
]  # fmt: skip
