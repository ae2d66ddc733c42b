"""Messages while nodes do not start. The status is of Ray's own class."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import ray
from ray.autoscaler.v2.schema import ClusterStatus, LaunchRequest

from study.running import autoscaler, shares
from study.running.autoscaler import WaitingNews, describe
from study.running.shares import Capacity
from trainables.usage import UsageError


def launch(details, time, name="gpu_worker", count=1):
    kind = LaunchRequest.Status.FAILED if time else LaunchRequest.Status.PENDING
    return LaunchRequest("g4dn.xlarge", name, count, kind, 0, time, details)


def test_the_latest_reason_of_each_node_type_is_one_line():
    old = launch("Unauthorized", 10)
    new = launch("InsufficientInstanceCapacity:\n no spot nodes", 20)
    other = launch(None, 5, name="big")
    pending = launch(None, None, count=3)
    status = ClusterStatus(
        pending_launches=[pending], failed_launches=[new, old, other]
    )
    assert describe(status, now=30) == (
        "The autoscaler says: 3 nodes are starting; big (g4dn.xlarge) cannot start: no "
        "reason given; gpu_worker (g4dn.xlarge) cannot start: "
        "InsufficientInstanceCapacity: no spot nodes."
    )
    assert describe(ClusterStatus()) == ""
    # Ray still lists a failure after a later launch has succeeded
    hours_later = describe(status, now=20 + 3600)
    assert hours_later == "The autoscaler says: 3 nodes are starting."
    one = ClusterStatus(pending_launches=[launch(None, None)])
    assert describe(one) == "The autoscaler says: 1 node is starting."


def test_the_reason_is_in_the_log_of_the_autoscaler(monkeypatch, tmp_path):
    # lines of monitor.log as Ray 2.60 writes them; the status of Ray has no reason
    text = "02:09:32,689 INFO node_provider.py:491 -- Failed to launch 2 nodes of type "
    lines = [
        "gpu_worker: the first",
        "gpu_worker: (Capacity): no\tspot nodes.",
        "big: x",
    ]
    (tmp_path / "monitor.log").write_text("".join(f"{text}{line}\n" for line in lines))
    node = SimpleNamespace(get_logs_dir_path=lambda: str(tmp_path))
    monkeypatch.setattr(ray._private.worker, "_global_node", node)
    status = ClusterStatus(failed_launches=[launch("", 10)])
    assert describe(status, autoscaler._log(), now=20) == (
        "The autoscaler says: gpu_worker (g4dn.xlarge) cannot start: (Capacity): no "
        "spot nodes."
    )
    (tmp_path / "monitor.log").unlink()
    said = describe(status, autoscaler._log(), now=20)
    assert said.endswith("no reason given.")
    monkeypatch.setattr(ray._private.worker, "_global_node", None)
    assert autoscaler._log() == ""


def test_a_wait_is_reported_after_five_seconds_and_then_every_minute(
    monkeypatch, capsys
):
    monkeypatch.setattr("study.running.autoscaler.launch_state", lambda: "")
    news = WaitingNews()
    for second in range(200):
        news.update(f"second {second}", second)
    assert capsys.readouterr().out.split("\n") == [
        "second 5",
        "second 65",
        "second 125",
        "second 185",
        "",
    ]
    news.end()
    for second in range(300, 305):
        news.update("too early", second)
    assert not news.said


@pytest.fixture
def no_gpu(monkeypatch):
    """Let a task of Ray fail as on a node without NVIDIA's driver."""
    cause = RuntimeError("Found no NVIDIA driver on your system.\nPlease check")
    error = ray.exceptions.RayTaskError("f", "Traceback ...", cause)

    def fail(answer):
        raise error

    class Task:
        def remote(self):
            return self

    monkeypatch.setattr(ray, "remote", lambda **options: lambda function: Task())
    monkeypatch.setattr(ray, "wait", lambda answers, timeout: (answers, []))
    monkeypatch.setattr(ray, "get", fail)


def test_a_gpu_node_without_a_driver_is_one_line(no_gpu):
    with pytest.raises(UsageError) as raised:
        shares._ask_gpu_memory(Capacity(4, 1, 4, 1))
    assert str(raised.value) == (
        "a node cannot use its GPU: RuntimeError: Found no NVIDIA driver on your "
        "system. Install NVIDIA's driver on the node, or use --gpus-per-trial 0"
    )


@pytest.mark.parametrize(
    ("cpus", "gpus", "most", "slots", "each"),
    [
        (16, 1, 2, 2, 0.5),
        (16, 4, 2, 8, 0.5),
        (2, 1, 2, 2, 0.5),
        (2, 4, 2, 2, 1.0),
        (8, 0, 2, 8, 0.0),
        (16, 1, None, 16, 1 / 16),
    ],
)
def test_the_session_limits_how_many_trials_share_a_gpu(
    cpus, gpus, most, slots, each, monkeypatch
):
    cluster = Capacity(cpus, gpus, cpus, gpus)
    monkeypatch.setattr(shares, "capacity", lambda: cluster)
    monkeypatch.setattr(shares, "_ask_gpu_memory", lambda cluster: 80.0)
    split = shares.share_out(
        cpus=1, gpus=None, max_concurrent=None, trials_per_gpu=most
    )
    assert (split.slots, split.gpus) == (slots, each)
    assert split.gpu_memory == (80.0 * each if gpus else None)


def test_workers_that_have_not_started_yet_are_no_error(monkeypatch):
    workers = {"max_workers": 3, "resources": {"CPU": 4, "GPU": 1}}
    config = {"max_workers": 3, "available_node_types": {"gpu": workers}}
    monkeypatch.setattr(ray, "cluster_resources", lambda: {})
    monkeypatch.setattr(shares, "_cluster_config", lambda: config)
    monkeypatch.setattr(shares, "_ask_gpu_memory", lambda cluster: 8.0)
    split = shares.share_out(cpus=4, gpus=1, max_concurrent=None)
    assert (split.slots, split.gpu_memory) == (3, 8.0)
