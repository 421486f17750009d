"""What a client refuses under a semi-honest server, in a sparse graph: more are lost than the adversary says.

The round: 18 clients, of whom D = 2 may drop out, so ℓ = 16 are left; L = 10. U1 is the cohort, U2 and U3 are without
one and two. Client 13 is looked at, and one that it shares with is never among those left out: it has its t holders.
"""

from protocols.pairwise_masking.at_client import AtClient
from protocols.pairwise_masking.participant import Policy
from protocols.pairwise_masking.rounds import EIGHTEEN
from protocols.vector_files import Vector, VectorFile

AT = AtClient(EIGHTEEN, {11: 2, 20: 3}, 13, Policy(greatest_clip=0.5), last_input=3)
OFFER, ROSTER, DELIVERY, _ = AT.requests


def client_refuses_sparse() -> VectorFile:
    """R7, R8 and R9: one fewer than ℓ, each time."""
    file = VectorFile(
        "pairwise_masking",
        "client_refuses_sparse",
        "Requests to one client, in the form of client_refuses: sets of one fewer than ℓ, and more than L. The server "
        "is semi-honest, the graph sparse.",
        context=AT.context(),
    )
    file.vectors += [too_few_advertised(), too_few_shared(), too_few_survived()]
    return file


def left_out(number: int, *gone: int) -> tuple[int, ...]:
    """The cohort without these and, so that `number` are gone, without others that hold no share of the client's."""
    others = [i for i in EIGHTEEN.cohort if i not in {*gone, AT.id, *AT.holders(AT.id)}]
    out = {*gone, *others[: number - len(gone)]}
    return tuple(i for i in EIGHTEEN.cohort if i not in out)


def too_few_advertised() -> Vector:
    """R7."""
    return AT.vector("R7", "three of eighteen have not advertised", [OFFER], AT.roster_of(left_out(3)))


def too_few_shared() -> Vector:
    """R8."""
    return AT.vector("R8", "three of eighteen have not shared", [OFFER, ROSTER], AT.delivery_of(left_out(3, 11)))


def too_few_survived() -> Vector:
    """R9."""
    refused = AT.survivors(*left_out(3, 11))
    return AT.vector("R9", "three of eighteen have no input in the sum", [OFFER, ROSTER, DELIVERY], refused)
