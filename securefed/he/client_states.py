"""What a client of a homomorphic round holds in each state, and the one request that each of them answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from securefed.aggregation import Update
from securefed.crypto.aead import open_sealed, seal
from securefed.encoding.lanes import pack_bits
from securefed.encoding.vector import VectorEncoding
from securefed.errors import ConfigError, RemoteProtocolError
from securefed.he.keys import RoundContext, RoundKey, advertised, check_entry, exchange_key, new_round_key
from securefed.he.opening import open_sum
from securefed.he.stages import Parameters, Stage
from securefed.participation import INPUT, ClientIdentity
from securefed.wire.from_server import Offer
from securefed.wire.header import SERVER, Header, MessageType
from securefed.wire.homomorphic import (
    SEALED_KEY_BYTES,
    Ciphertexts,
    CiphertextSum,
    ExchangeKey,
    ExchangeKeys,
    Opened,
    SealedKey,
    SealedKeys,
)  # fmt: skip
from securefed.wire.specification import RoundSpec

__all__ = ["Advertised", "Closed", "Holding", "New"]


@dataclass(frozen=True)
class Closed:
    """Nothing is left to give."""

    rule: str
    reason: str

    def answer(self, request: bytes, _: Callable[[], Update]) -> tuple[bytes, Closed]:
        """Refuse everything."""
        raise RemoteProtocolError(self.rule, self.reason, SERVER)


@dataclass(frozen=True, repr=False)
class New:
    """Nothing is known yet but who this client is."""

    parameters: Parameters
    identity: ClientIdentity
    round_secret: bytes

    def answer(self, request: bytes, _: Callable[[], Update]) -> tuple[bytes, Advertised]:
        """OFFER → EXCHANGE_KEY: check the round, make a key."""
        me, spec = self.identity.id, Offer.decode(request, self.parameters.suite).spec
        self.identity.check_wishes(self.parameters.name, spec)
        self.identity.check_keys(spec)
        encoding = self.identity.encoding_of(spec)
        try:
            self.parameters.check(spec)
            context = self.parameters.context(spec, encoding)
        except ConfigError as error:
            raise RemoteProtocolError("H6", error.detail) from None
        self.identity.check_cohort(spec)
        public = exchange_key(self.round_secret, spec.session).public
        credentials = self.identity.credentials
        signed = spec.adversary.malicious and credentials is not None
        signature = credentials.key.sign(advertised(public, spec, me)) if signed and credentials else b""
        entry = ExchangeKey(public, signature)
        after = Advertised(
            self.parameters, self.identity, self.round_secret, spec, encoding, context, entry, requests=(request,)
        )
        return entry.encode(self.parameters.expected_from(spec, me)), after


@dataclass(frozen=True, repr=False)
class Advertised:
    """An exchange key is out; the update has not been asked for.

    Attributes:
        requests: those answered so far: with the round secret, what this state can be computed from again.
        recipients: whom this client has sealed the round key to, itself among them; empty where it is not the holder.
    """

    parameters: Parameters
    identity: ClientIdentity
    round_secret: bytes
    spec: RoundSpec
    encoding: VectorEncoding
    context: RoundContext
    entry: ExchangeKey
    requests: tuple[bytes, ...]
    recipients: tuple[int, ...] = ()

    def answer(self, request: bytes, update: Callable[[], Update]) -> tuple[bytes, Advertised | Holding | Closed]:
        """EXCHANGE_KEYS → SEALED_KEYS, once and for the holder alone; SEALED_KEY → CIPHERTEXTS. A holder that was not
        asked for its input opens the sum of the others."""
        kind = Header.parse(request).type
        if kind is MessageType.EXCHANGE_KEYS and not self.recipients:
            return self._seal(request)
        if kind is MessageType.CIPHERTEXT_SUM and self.recipients:
            return self._holding().answer(request, update)
        return self._encrypt(request, update)

    def _holding(self) -> Holding:
        return Holding(
            self.parameters, self.identity, self.round_secret, self.spec, self.encoding, self.context,
            offer=self.requests[0], recipients=frozenset(self.recipients),
        )  # fmt: skip

    def _seal(self, request: bytes) -> tuple[bytes, Advertised]:
        me, spec = self.identity.id, self.spec
        signed, context = spec.adversary.malicious, self.parameters.expected_from(spec, me)
        expected = self.parameters.expected_from(spec, SERVER)
        entries = ExchangeKeys.decode(request, expected, spec.cohort, signed=signed).entries
        self._check(entries)
        mine, key = exchange_key(self.round_secret, spec.session), new_round_key(self.round_secret, self.context)
        others = [client for client in entries if client != me]
        header = SealedKeys.header(context, len(others))
        sealed = {}
        for client in others:
            theirs = entries[client].public
            sealing_key = self.context.sealing_key(mine, theirs, me, client, len(others))
            sealed[client] = seal(sealing_key, key.raw, header + client.to_bytes(4, "big"))
        after = replace(self, recipients=tuple(entries), requests=(*self.requests, request))
        return SealedKeys(key.id, sealed).encode(context), after

    def _check(self, entries: Mapping[int, ExchangeKey]) -> None:
        me, spec = self.identity.id, self.spec
        if me not in entries:
            raise RemoteProtocolError("R7", "the list of exchange keys does not hold this client's")
        if len(entries) < spec.threshold:
            raise RemoteProtocolError("R7", f"{len(entries)} exchange keys, at least {spec.threshold} are needed")
        if entries[me] != self.entry:
            raise RemoteProtocolError("K3", "the list has another exchange key for this client than it sent")
        if len({entry.public for entry in entries.values()}) < len(entries):
            raise RemoteProtocolError("K4", "an exchange key occurs twice in the list")
        for client, entry in entries.items():
            if client != me:
                check_entry(entry, spec, client, self.identity.public_key(client, spec))

    def _encrypt(self, request: bytes, update: Callable[[], Update]) -> tuple[bytes, Holding | Closed]:
        me, spec, identity = self.identity.id, self.spec, self.identity
        expected = self.parameters.expected_from(spec, SERVER)
        key = self._round_key(SealedKey.decode(request, expected, signed=spec.adversary.malicious))
        cipher = self.parameters.cipher(self.encoding)
        contribution = update()
        identity.check_model(spec, contribution.model)
        lanes = self.encoding.lane_values(
            contribution.tensors, contribution.weight, contribution.metrics, identity.rounding(spec.round)
        )
        numbers = self.encoding.numbers
        tagged = key.tags.append_tags(lanes, me, numbers.bits - 1, numbers.digits)
        payload = cipher.encrypt(key.secret, tagged)
        identity.record.claim(INPUT, spec.round, spec.session)
        after = self._holding() if self.recipients else Closed("R4", "the round is over for this client")
        return Ciphertexts(key.id, payload).encode(self.parameters.expected_from(spec, me)), after

    def _round_key(self, message: SealedKey) -> RoundKey:
        me, spec, holder = self.identity.id, self.spec, message.holder
        if (holder == me) != bool(self.recipients):
            raise RemoteProtocolError(
                "H8", "this client is said to hold the round's key, or another one is while it does"
            )
        if holder == me:
            key = new_round_key(self.round_secret, self.context)
            if message.sealed != bytes(SEALED_KEY_BYTES) or message.entry != self.entry:
                raise RemoteProtocolError("K3", "something is sealed to the key holder itself, or by another key")
        else:
            if holder not in spec.cohort:
                raise RemoteProtocolError("W10", f"the key holder {holder} is not in the cohort")
            check_entry(message.entry, spec, holder, self.identity.public_key(holder, spec))
            mine = exchange_key(self.round_secret, spec.session)
            if not spec.threshold - 1 <= message.recipients < len(spec.cohort):
                raise RemoteProtocolError("R7", f"the key was sealed to {message.recipients} clients")
            header = SealedKeys.header(self.parameters.expected_from(spec, holder), message.recipients)
            sealing_key = self.context.sealing_key(mine, message.entry.public, holder, me, message.recipients)
            key = RoundKey(open_sealed(sealing_key, message.sealed, header + me.to_bytes(4, "big")), self.context)
        if key.id != message.key_id:
            raise RemoteProtocolError("H2", "the round key is not the one that it is said to be")
        return key


@dataclass(frozen=True, repr=False)
class Holding:
    """The key holder behind its input: it opens one sum.

    Attributes:
        offer: the round's first request.
        recipients: who was given the round key, this client among them.
    """

    parameters: Parameters
    identity: ClientIdentity
    round_secret: bytes
    spec: RoundSpec
    encoding: VectorEncoding
    context: RoundContext
    offer: bytes
    recipients: frozenset[int]

    @classmethod
    def taken_up(
        cls,
        parameters: Parameters,
        identity: ClientIdentity,
        round_secret: bytes,
        offer: bytes,
        recipients: frozenset[int],
    ) -> Holding:
        """From what a snapshot stores."""
        spec = Offer.decode(offer, parameters.suite).spec
        encoding = identity.encoding_of(spec)
        context = parameters.context(spec, encoding)
        return cls(parameters, identity, round_secret, spec, encoding, context, offer, recipients)

    def answer(self, request: bytes, _: Callable[[], Update]) -> tuple[bytes, Closed]:
        """CIPHERTEXT_SUM → OPENED: once, and only the sum over at least L clients that were given the key."""
        spec, cipher = self.spec, self.parameters.cipher(self.encoding)
        expected = self.parameters.expected_from(spec, SERVER)
        message = CiphertextSum.decode(request, expected, cipher.sum_bytes, spec.cohort, self.recipients)
        if len(message.survivors) < spec.threshold:
            raise RemoteProtocolError(
                "H4", f"a sum over {len(message.survivors)} clients, at least {spec.threshold} are needed"
            )
        key = new_round_key(self.round_secret, self.context)
        if message.key_id != key.id:
            raise RemoteProtocolError("H2", "a sum under another key")
        # Before the first look at it: a restart from an older snapshot gives no second try.
        self.identity.record.claim(Stage.OPEN.value, spec.round, spec.session)
        words = open_sum(cipher, key, self.encoding, message.payload, message.survivors)
        opened = Opened(pack_bits(words, spec.numbers.lanes.ring_bits))
        answer = opened.encode(self.parameters.expected_from(spec, self.identity.id))
        return answer, Closed("R4", "the round is over for this client")
