"""What happens on a real SuperLink when something is killed, is slow, or sends what it should not.

Against a malicious server, four clients of which one may be lost: three are enough for a sum.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

pytest.importorskip("flwr")

from tests.integrations.flower_stack.job import (
    ADVERTISE,
    CONSENT,
    INPUT,
    RELEASE,
    SHARE,
    ProtectedJob,
    protected_job,
)
from tests.integrations.flower_stack.stack import APPS
from tests.integrations.flower_stack.steps import vector_after

pytestmark = pytest.mark.timeout(900)

NODES = 4
ALL, WITHOUT_THE_LAST = [1, 2, 3, 4], [1, 2, 3]
CONFIG = {"dropouts": 0.25, "stage-timeout": 40.0, "train-timeout": 40.0}
LAST = NODES - 1


def the_sums_are_of(job: ProtectedJob, survivors: Sequence[Sequence[int]]) -> None:
    """The rounds' sums are over these clients, the arrays say so too, and nobody gave one session two inputs."""
    assert [report["survivors"] for report in job.reports] == list(map(list, survivors))
    for number in range(1, len(survivors) + 1):
        vector = job.arrays_after(number)["vector"]
        np.testing.assert_allclose(vector, vector_after(survivors[:number]), rtol=0, atol=1e-4)  # 16 bits, and float32
    numbers = [report["number"] for report in job.reports]
    assert numbers == sorted(set(numbers))
    sessions = [report["session"] for report in job.reports]
    for partition in range(NODES):
        inputs = job.inputs(partition)
        assert len(set(inputs)) == len(inputs)
        summed = [session for session, who in zip(sessions, survivors, strict=True) if partition + 1 in who]
        assert [session for session in inputs if session in summed] == summed


def test_a_node_that_is_killed_while_it_trains_is_left_out_of_the_sum(tmp_path):
    with protected_job(tmp_path, APPS / "vector", NODES, {**CONFIG, "rounds": 1}) as job:
        job.hold(f"training-{LAST}-1")
        run = job.start()
        job.wait_for(run, f"training-{LAST}-1")
        job.stack.kill_node(LAST)
        job.finish(run)
        the_sums_are_of(job, [WITHOUT_THE_LAST])
        assert job.reports[0]["lost"] == {"4": "input"}
        assert job.inputs(LAST) == []


@pytest.mark.stack
@pytest.mark.parametrize(
    ("exchange", "stage", "survivors"),
    [
        (ADVERTISE, "advertise", WITHOUT_THE_LAST),
        (SHARE, "share", WITHOUT_THE_LAST),
        (INPUT, "input", WITHOUT_THE_LAST),
        (CONSENT, "consent", ALL),
        (RELEASE, "release", ALL),
    ],
)
def test_a_killed_node_is_lost_from_that_stage_on_and_comes_back(tmp_path, exchange, stage, survivors):
    with protected_job(tmp_path, APPS / "vector", NODES, {**CONFIG, "rounds": 2}) as job:
        job.hold(f"before-{exchange}")
        job.hold("over-1")
        run = job.start()
        job.wait_for(run, f"before-{exchange}")
        job.stack.kill_node(LAST)
        job.release(f"before-{exchange}")
        job.wait_for(run, "over-1")
        job.stack.start_node(LAST)
        job.release("over-1")
        job.finish(run)
        the_sums_are_of(job, [survivors, ALL])
        assert [report["lost"] for report in job.reports] == [{"4": stage}, {}]


@pytest.mark.stack
def test_rounds_go_on_without_a_node_that_stays_away(tmp_path):
    with protected_job(tmp_path, APPS / "vector", NODES, {**CONFIG, "rounds": 2, "least-nodes": 3}) as job:
        job.hold(f"before-{CONSENT}")
        run = job.start()
        job.wait_for(run, f"before-{CONSENT}")
        job.stack.kill_node(LAST)
        job.release(f"before-{CONSENT}")
        job.finish(run)
        the_sums_are_of(job, [ALL, WITHOUT_THE_LAST])


@pytest.mark.stack
def test_with_too_few_nodes_left_the_round_is_given_up_and_the_next_run_is_well(tmp_path):
    with protected_job(tmp_path, APPS / "vector", NODES, {**CONFIG, "rounds": 1, "attempts": 1}) as job:
        job.hold(f"before-{INPUT}")
        run = job.start()
        job.wait_for(run, f"before-{INPUT}")
        for node in (LAST - 1, LAST):
            job.stack.kill_node(node)
        job.release(f"before-{INPUT}")
        log = run.wait(200)
        assert "RoundAborted" in log
        assert not (job.folder / "reports.jsonl").exists()
        for node in (LAST - 1, LAST):
            job.stack.start_node(node)
        job.finish(job.start())
        the_sums_are_of(job, [ALL])


@pytest.mark.stack
@pytest.mark.parametrize("killed", ["SuperLink", "server app"])
@pytest.mark.parametrize("place", [f"after-{SHARE}", f"after-{INPUT}", f"after-{CONSENT}", "over-1"])
def test_a_job_whose_server_was_killed_goes_on_where_it_was(tmp_path, killed, place):
    config = {**CONFIG, "rounds": 2, "checkpoint": True, "stage-timeout": 90.0, "train-timeout": 90.0}
    with protected_job(tmp_path, APPS / "vector", NODES, config) as job:
        job.hold(place)
        run = job.start()
        job.wait_for(run, place)
        if killed == "SuperLink":
            job.stack.kill_superlink()
            job.stack.start_superlink()
        else:
            job.stack.kill_server_app()
        run.stop()
        job.release(place)
        job.finish(job.start())
        the_sums_are_of(job, [ALL, ALL])
        for partition in range(NODES):
            assert job.inputs(partition) == [report["session"] for report in job.reports]


@pytest.mark.stack
def test_a_node_that_is_too_slow_is_left_out_and_takes_part_in_the_next_round(tmp_path):
    with protected_job(tmp_path, APPS / "vector", NODES, {**CONFIG, "rounds": 2}) as job:
        job.hold(f"training-{LAST}-1")
        run = job.start()
        job.wait_for(run, "over-1")
        job.release(f"training-{LAST}-1")
        job.finish(run)
        the_sums_are_of(job, [WITHOUT_THE_LAST, ALL])
        assert job.reports[0]["lost"] == {"4": "input"}


@pytest.mark.stack
def test_a_reply_that_is_too_long_is_refused_and_the_others_are_summed(tmp_path):
    def node_config(node: int) -> dict[str, int]:
        return {"swollen": 20_000_000 if node == LAST else 0}

    with protected_job(tmp_path, APPS / "vector", NODES, {**CONFIG, "rounds": 1}, node_config=node_config) as job:
        job.finish(job.start())
        the_sums_are_of(job, [WITHOUT_THE_LAST])
        assert "[W8]" in job.reports[0]["refused"]["4"]


@pytest.mark.stack
def test_clients_refuse_to_train_for_a_server_without_protection(tmp_path):
    with protected_job(tmp_path, APPS / "vector", NODES, {**CONFIG, "rounds": 1, "protected": False}) as job:
        job.finish(job.start())
        assert not job.arrays_after(0)["vector"].any()
        for partition in range(NODES):
            assert "a train message without protection is refused" in job.stack.log(f"node-{partition}")
            assert not (job.folder / f"training-{partition}-1").exists()
