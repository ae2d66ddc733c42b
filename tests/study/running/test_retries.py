"""How often a trial restarts: errors end it sooner than killed workers do.

A new checkpoint resets the count. The tests that really kill Ray's workers are in
test_survival and test_faults.
"""

from __future__ import annotations

import pickle
import socket
from pathlib import Path

import pytest
import ray
import torch

from study.running import connection
from study.running.tuning import (
    MAX_ERRORS,
    MAX_WORKER_DEATHS,
    OUT_OF_MEMORY,
    RetryPolicy,
    failure_text,
)


class Trial:
    """The attributes of Tune's Trial that the callback uses."""

    config = {"trial": {"name": "a"}}  # noqa: RUF012

    def __init__(self, folder):
        self.num_failures, self.max_failures = 0, MAX_WORKER_DEATHS
        self.pickled_error_file = folder / "error.pkl"

    def fail(self, retries, error):
        """Fail as Tune's trial does; return whether the trial restarts."""
        self.num_failures += 1
        Path(self.pickled_error_file).write_bytes(pickle.dumps(error))
        if self.num_failures > self.max_failures:
            return False
        retries.on_trial_recover(0, [], self)
        return True


DEATH, ERROR = ray.exceptions.ActorDiedError(), OSError(28, "full")


def keep(retries, trial, tasks):
    retries.on_trial_result(0, [], trial, {"name": "a", "tasks_saved": tasks})


def survived(retries, trial, error):
    count = 0
    while trial.fail(retries, error):
        count += 1
        keep(retries, trial, 0)  # the trial reports no new checkpoint
    return count


def test_errors_end_a_trial_sooner_than_deaths(tmp_path):
    assert survived(RetryPolicy(), Trial(tmp_path), ERROR) == MAX_ERRORS
    assert survived(RetryPolicy(), Trial(tmp_path), DEATH) == MAX_WORKER_DEATHS


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError(
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"
        ),
    ],
    ids=str,
)
def test_a_lack_of_gpu_memory_is_not_retried(error, tmp_path):
    """The session starts smaller trials instead."""
    assert OUT_OF_MEMORY.search(failure_text(error))
    assert not OUT_OF_MEMORY.search(failure_text(ERROR))
    assert not OUT_OF_MEMORY.search(failure_text(DEATH))
    assert survived(RetryPolicy(), Trial(tmp_path), error) == 1


def test_what_was_kept_in_between_counts_anew(tmp_path):
    retries, trial = RetryPolicy(), Trial(tmp_path)
    for tasks in range(2, 40):
        keep(retries, trial, tasks)
        assert trial.fail(retries, DEATH)
        assert trial.fail(retries, ERROR)
        assert trial.fail(retries, ERROR)
    keep(retries, trial, 41)
    assert survived(retries, trial, ERROR) == MAX_ERRORS


@pytest.mark.parametrize(
    ("url", "mode", "said"),
    [
        ("127.0.0.1:8265", None, "Ray dashboard: http://127.0.0.1:8265"),
        (
            "127.0.0.1:8265",
            "token",
            "Ray dashboard: http://127.0.0.1:8265 "
            "(to show the token, run `ray get-auth-token`)",
        ),
        ("", None, "Ray has no dashboard. The study runs without a dashboard."),
    ],
)
def test_it_is_said_where_the_dashboard_is_or_that_there_is_none(
    url, mode, said, monkeypatch
):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if mode:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    assert connection._dashboard_line(url) == said


def test_a_ray_that_is_gone_is_not_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert connection._connection_error(address) is None
    assert isinstance(connection._connection_error(address), ConnectionRefusedError)
    assert connection._connection_error("auto") is None
