"""The loop over a toy trainer: the same model under every scheme, over every loss, after every crash."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from securefed.aggregation import Adversary, ClientIdentity, Policy, Scheme, Update, new_round
from securefed.encoding.layout import Layout
from securefed.encoding.tensors import BFloat16
from securefed.errors import ConfigError, PersistenceError, RoundAborted
from securefed.federated import checkpoint, journal
from securefed.federated.cohort import Cohort, Loss
from securefed.federated.loop import model_digest
from securefed.federated.server_optimizer import FedAvg
from securefed.he import HomomorphicScheme, bfv
from securefed.plain import PlainFloats, PlainIntegers
from securefed.schemes import SCHEMES
from securefed.secagg import PairwiseMasks

from .toy import CLIENTS, MALICIOUS, ROUNDS, SEMI_HONEST, Notes, loop, start_weights


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return list(one) == list(other) and all(one[name].tobytes() == other[name].tobytes() for name in one)


@pytest.mark.parametrize("adversary", [MALICIOUS, SEMI_HONEST], ids=["malicious", "semi-honest"])
def test_masks_and_plain_integers_give_the_same_model_to_the_bit(adversary: Adversary) -> None:
    """The adversary decides how a round is protected, and nothing of what it gives."""
    notes = Notes()
    masked = loop(PairwiseMasks(), adversary=adversary).run(notes)
    assert equal(masked, loop(PlainIntegers()).run(Notes()))
    stages = [stage for number, stage, _ in notes.stages if number == 1]
    consents = ["consent"] if adversary.malicious else []
    assert stages == ["advertise", "share", "input", *consents, "release"]
    assert list(notes.results[0].cost.stage_seconds) == stages


@pytest.mark.parametrize("weight", [1, 4])
def test_integers_stay_close_to_plain_fedavg(weight: int) -> None:
    masked = loop(PairwiseMasks(), weight=weight).run(Notes())
    floats = loop(PlainFloats(), weight=weight).run(Notes())
    step = 1.0 / (2**19 - 1)
    for name in masked:
        # Each round rounds by less than a step a client, and the server takes 1.5 times the mean.
        assert np.abs(masked[name] - floats[name]).max() < ROUNDS * 1.5 * step * 4
    assert not equal(masked, floats)


def test_weighted_mean_weighs_by_examples() -> None:
    uniform, weighted = loop(PlainFloats()).run(Notes()), loop(PlainFloats(), weight=CLIENTS).run(Notes())
    # Clients with more examples have greater targets.
    assert all((weighted[name] > uniform[name]).all() for name in uniform)


@pytest.mark.parametrize("stage", PairwiseMasks.stages)
def test_a_lost_client_at_any_stage(stage: str) -> None:
    notes = Notes()
    lost = Loss(2, 3, stage)
    masked = loop(PairwiseMasks(), losses=(lost,)).run(notes)
    second = notes.results[1]
    assert second.cost.lost == {3: stage}
    in_the_sum = stage in ("consent", "release")  # its input had arrived
    assert (3 in second.aggregate.survivors) == in_the_sum
    assert [len(result.aggregate.survivors) for result in notes.results] == [5, 5 if in_the_sum else 4, 5, 5]
    plain = loop(PlainIntegers(), losses=() if in_the_sum else (Loss(2, 3, "input"),)).run(Notes())
    assert equal(masked, plain)


def test_too_many_lost_clients_abort_the_round_and_leave_the_checkpoint(tmp_path: Path) -> None:
    losses = (Loss(2, 1, "input"), Loss(2, 2, "share"))
    broken = loop(PairwiseMasks(), tmp_path, losses=losses)
    with pytest.raises(RoundAborted, match="3 of 4 clients answered, 4 are needed"):
        broken.run(Notes())
    again = loop(PairwiseMasks(), tmp_path)
    assert again.resume()
    assert again.finished == 1
    assert equal(again.run(Notes()), loop(PairwiseMasks()).run(Notes()))


@pytest.mark.parametrize("scheme", [PairwiseMasks(), PlainIntegers(), PlainFloats()], ids=lambda scheme: scheme.name)
def test_a_client_whose_update_is_not_finite_is_out_of_the_round_alone(scheme: Scheme) -> None:
    job, notes = loop(scheme), Notes()
    job._trainers[2].target = float("nan")  # type: ignore[attr-defined]
    weights = job.run(notes)
    assert all(np.isfinite(array).all() for array in weights.values())
    for result in notes.results:
        assert result.aggregate.survivors == (1, 3, 4, 5)
        assert "V6" in result.cost.refused[2] or "'layer.a'" in result.cost.refused[2]


def test_a_round_that_aborted_is_run_again_by_the_same_clients() -> None:
    """Three give an input before the round ends: they take part in the next attempt at it all the same."""
    job = loop(PairwiseMasks())
    good = {client: job._trainers[client].target for client in (1, 2)}  # type: ignore[attr-defined]
    for client in good:
        job._trainers[client].target = float("nan")  # type: ignore[attr-defined]
    with pytest.raises(RoundAborted, match="3 of 5 clients answered, 4 are needed"):
        job.run(Notes())
    for client, target in good.items():
        job._trainers[client].target = target  # type: ignore[attr-defined]
    assert equal(job.run(Notes()), loop(PairwiseMasks()).run(Notes()))


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def crash_points() -> list[tuple[str, Callable[[pytest.MonkeyPatch, int], None]]]:
    def before_or_after(module: object, name: str, *, after: bool) -> Callable[[pytest.MonkeyPatch, int], None]:
        def plant(patch: pytest.MonkeyPatch, at: int) -> None:
            real, count = getattr(module, name), 0

            def planted(*args: object, **kwargs: object) -> object:
                nonlocal count
                count += 1
                if count == at and not after:
                    raise Killed
                result = real(*args, **kwargs)
                if count == at:
                    raise Killed
                return result

            patch.setattr(module, name, planted)

        return plant

    return [
        (f"{'after' if after else 'before'} {name}", before_or_after(module, name, after=after))
        for module, name in ((journal, "append_line"), (checkpoint, "replace"))
        for after in (False, True)
    ]


@pytest.mark.parametrize("at", range(1, ROUNDS + 1))
@pytest.mark.parametrize(("where", "plant"), crash_points())
def test_a_crash_at_every_durable_write_ends_at_the_same_model(
    where: str, plant: Callable[[pytest.MonkeyPatch, int], None], at: int, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plant(patch, at)
        with pytest.raises(Killed):
            loop(PairwiseMasks(), tmp_path).run(Notes())
    resumed = loop(PairwiseMasks(), tmp_path)
    resumed.resume()
    assert equal(resumed.run(Notes()), loop(PairwiseMasks()).run(Notes()))
    sessions = [json.loads(line)["session"] for line in (tmp_path / "sessions.jsonl").read_text().splitlines()]
    assert len(sessions) >= ROUNDS
    assert len(set(sessions)) == len(sessions), "a session, and so its masks, was used twice"


def test_a_session_is_on_disk_before_any_client_hears_of_it(tmp_path: Path) -> None:
    class Watching(PairwiseMasks):
        def client(self, identity):  # type: ignore[no-untyped-def]
            assert len((tmp_path / "sessions.jsonl").read_text().splitlines()) == self.round
            return super().client(identity)

    scheme = Watching()
    job = loop(scheme, tmp_path)

    class Counting(Notes):
        def round(self, result):  # type: ignore[no-untyped-def]
            scheme.round += 1
            super().round(result)

    scheme.round = 1  # type: ignore[attr-defined]
    job.run(Counting())


def test_resume_refuses_another_job_and_another_method(tmp_path: Path) -> None:
    loop(PairwiseMasks(), tmp_path).run(Notes())
    with pytest.raises(PersistenceError, match="P3"):
        loop(PairwiseMasks(), tmp_path, job="another").resume()
    other = loop(PairwiseMasks(), tmp_path)
    stored = checkpoint.Checkpoint.load(tmp_path / "checkpoint.bin", "job")
    checkpoint.Checkpoint("job", 1, {"layer.a": stored.weights["layer.a"]}).save(tmp_path / "checkpoint.bin")
    with pytest.raises(ConfigError, match="other tensors"):
        other.resume()


def test_resume_without_a_checkpoint_starts_at_the_beginning(tmp_path: Path) -> None:
    assert not loop(PairwiseMasks(), tmp_path).resume()
    assert not loop(PairwiseMasks()).resume()


def test_the_model_digest_sees_every_change() -> None:
    weights = start_weights()
    base = model_digest("job", weights)
    changed = {name: array.copy() for name, array in weights.items()}
    changed["layer.b"][3] = np.nextafter(changed["layer.b"][3], 1)
    renamed = {("layer.c" if name == "layer.b" else name): array for name, array in weights.items()}
    digests = {base, model_digest("job2", weights), model_digest("job", changed), model_digest("job", renamed)}
    assert len(digests) == 4
    swapped = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in weights.items()}
    assert model_digest("job", swapped) == base


def test_fedavg_step() -> None:
    new = FedAvg(2.0).step({"w": np.array([1.0, 2.0], np.float16)}, {"w": np.array([0.5, -1.0], np.float16)})
    assert new["w"].dtype == np.float16
    assert new["w"].tolist() == [2.0, 0.0]


@pytest.mark.parametrize("stored", [np.float32, np.float64])
def test_fedavg_takes_a_bfloat16_mean_as_the_numbers_that_it_holds(stored: type) -> None:
    """Where the updates are bfloat16 their mean is too; the weights that it is added to need not be."""
    update = Update({"w": BFloat16.nearest(np.array([[0.125, -0.5], [1e-3, 0.7]]))}, bytes(31) + b"\1")
    scheme, layout, adversary = PlainIntegers(), Layout.of(update.tensors), Adversary("semi-honest")
    spec = new_round(
        round_number=1, cohort=(1, 2, 3), adversary=adversary, model=update.model, layout=layout, bits=16, clip=1.0
    )
    server, policy = scheme.server(spec, layout), Policy(frozenset({"plain"}), adversary, least_sum=2)
    for client, offer in server.requests().items():
        server.receive(client, scheme.client(ClientIdentity(client, layout, policy)).reply(offer, lambda: update))
    server.advance()
    assert server.aggregate is not None
    mean = server.aggregate.tensors["w"]
    assert isinstance(mean, BFloat16)
    weights = np.array([[1.0, 2.0], [3.0, 4.0]], stored)
    new = FedAvg(0.5).step({"w": weights}, server.aggregate.tensors)
    assert new["w"].dtype == stored
    assert np.array_equal(new["w"], (weights + 0.5 * mean.widened().astype(np.float64)).astype(stored))


def test_fedavg_of_bfloat16_weights_rounds_once() -> None:
    """In float32, and through it, 1 + 2^-8 + 2^-40 is a tie and goes to the even 1; it is above the tie."""
    weights = {"w": BFloat16.nearest(np.ones(1))}
    new = FedAvg(1.0).step(weights, {"w": np.array([2.0**-8 + 2.0**-40])})
    assert isinstance(new["w"], BFloat16)
    assert new["w"].widened().tolist() == [1 + 2.0**-7]


def test_cohorts_are_chosen_again_the_same_and_differ_by_round() -> None:
    cohort = Cohort(tuple("abcdefgh"))
    chosen = [cohort.choose(number, 3, seed=5) for number in range(1, 9)]
    assert chosen == [cohort.choose(number, 3, seed=5) for number in range(1, 9)]
    assert len(set(chosen)) > 1
    assert all(len(ids) == 3 and list(ids) == sorted(set(ids)) for ids in chosen)
    assert cohort.choose(1, 0, seed=5) == tuple(range(1, 9))
    with pytest.raises(ConfigError, match="9 of 8"):
        cohort.choose(1, 9, seed=5)
    with pytest.raises(ConfigError, match="same name"):
        Cohort(("a", "a"))


def test_a_round_that_cannot_end_is_refused_before_it_begins(tmp_path: Path) -> None:
    hopeless = loop(PairwiseMasks(), tmp_path, adversary=Adversary("malicious", 0.4, 0.4))
    with pytest.raises(ConfigError, match="a cohort of 5 needs 4 survivors, and 3 are left"):
        hopeless.run(Notes())
    assert not list(tmp_path.iterdir())


def test_identity_keys_are_new_with_every_process() -> None:
    """Simulated clients keep none: nothing of a run, its model least of all, depends on them."""
    keys = [set(loop(PairwiseMasks())._public_keys.values()) for _ in range(2)]
    assert len(keys[0] | keys[1]) == 2 * CLIENTS
    assert equal(loop(PairwiseMasks()).run(Notes()), loop(PairwiseMasks()).run(Notes()))


def test_an_unknown_stage_to_lose_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"aggregation\.lose_stage"):
        Loss.choose("sharing", PairwiseMasks.stages, 1, (1, 2, 3))
    assert Loss.choose("none", PairwiseMasks.stages, 1, (1, 2, 3)) == ()


def test_every_scheme_meets_the_seam() -> None:
    schemes = [entry.make() for entry in SCHEMES.values()]
    assert [scheme.name for scheme in schemes] == list(SCHEMES)
    assert all(scheme.update_stage in scheme.stages for scheme in schemes)
    for entry, scheme in zip(SCHEMES.values(), schemes, strict=True):
        own = scheme.parameters.suite if isinstance(scheme, HomomorphicScheme) else entry.suite
        assert entry.suite == own
        assert entry.stages == scheme.stages
        assert set(entry.holder_stages) <= set(scheme.stages)


@pytest.mark.parametrize("stage", bfv().stages)
def test_a_homomorphic_round_loses_a_client_or_its_key_holder(stage: str, tmp_path: Path) -> None:
    """Lost before the keys are made, another client makes them; behind its input the holder ends the attempt alone."""
    notes, nobody = Notes(), Adversary("malicious", 0.0, 0.2)
    encrypted = loop(bfv(), tmp_path, losses=(Loss(2, 1, stage),), adversary=nobody, attempts=2).run(notes)
    aborted = stage in ("input", "open")  # the first client holds the key
    survivors = [len(result.aggregate.survivors) for result in notes.results]
    assert survivors == [5, 5 if aborted else 4, 5, 5]
    assert [(one.number, one.error.stage, one.again, one.cost.lost) for one in notes.aborts] == (
        [(2, "open", True, {1: stage})] if aborted else []
    )
    assert len((tmp_path / "sessions.jsonl").read_text().splitlines()) == ROUNDS + aborted
    plain = loop(PlainIntegers(), losses=() if aborted else (Loss(2, 1, "input"),), adversary=nobody).run(Notes())
    assert equal(encrypted, plain)


def test_an_attempt_that_nobody_was_lost_in_is_not_made_again() -> None:
    job, notes = loop(PairwiseMasks(), attempts=2), Notes()
    for client in (1, 2):
        job._trainers[client].target = float("nan")  # type: ignore[attr-defined]
    with pytest.raises(RoundAborted, match="3 of 5 clients answered, 4 are needed"):
        job.run(notes)
    assert [one.again for one in notes.aborts] == [False]


def test_the_last_attempt_ends_the_job() -> None:
    notes, losses = Notes(), (Loss(2, 1, "input"), Loss(2, 2, "share"))
    with pytest.raises(RoundAborted):
        loop(PairwiseMasks(), losses=losses).run(notes)
    assert [(one.number, one.again) for one in notes.aborts] == [(2, False)]
    again = loop(PairwiseMasks(), losses=losses, attempts=2).run(Notes())
    assert equal(again, loop(PairwiseMasks()).run(Notes()))
