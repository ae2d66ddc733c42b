"""The test whether a node can use the results: its answer, and its clean-up.

Real nodes, which share a folder or do not, are in test_cluster_lab.
"""

from __future__ import annotations

import pytest
import ray

from study.results.files import Files
from study.results.provenance import software
from study.running.nodes import ReachTest, copy_file, version_differences


@pytest.fixture
def reach_test(tmp_path):
    """A test whose file the driver has written."""
    test = ReachTest(Files(str(tmp_path / "one"), "mine"), "abc", "172.31.0.4")
    test.files.put(test.path, test.content)
    return test


@pytest.fixture
def no_patience(monkeypatch):
    monkeypatch.setattr("study.running.nodes.COPY_SECONDS", 0.0)


def copy(test, files):
    return copy_file(files, test.path, f"{test.path}-copy")


def test_a_node_that_shares_the_folder_copies_the_file(reach_test):
    fault, versions = copy(reach_test, reach_test.files)
    assert fault == ""
    assert reach_test.is_copied()
    assert version_differences(versions) == ""
    reach_test.clean_up()
    assert list(reach_test.files.folder.iterdir()) == []


def test_a_node_with_another_folder_says_so_and_writes_nothing(
    tmp_path, reach_test, no_patience
):
    fault, _ = copy(reach_test, Files(str(tmp_path / "two"), "mine"))
    assert fault.startswith("FileNotFoundError")
    assert not reach_test.is_copied()
    assert not (tmp_path / "two").exists()


def test_a_node_that_may_not_write_says_so(reach_test, no_patience):
    (reach_test.files.folder / f"{reach_test.path}-copy").mkdir()
    fault, _ = copy(reach_test, reach_test.files)
    assert "Error" in fault


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ray.exceptions.GetTimeoutError(), "the node does not answer"),
        (ray.exceptions.TaskUnschedulableError("dead"), "not schedulable: dead"),
    ],
)
def test_a_node_that_leaves_during_the_test_has_no_fault(
    reach_test, monkeypatch, error, fault
):
    def get(answer, timeout):
        raise error

    alive = {reach_test.node: reach_test.address}
    monkeypatch.setattr("ray.get", get)
    monkeypatch.setattr("study.running.nodes.live_nodes", lambda: alive)
    assert fault in reach_test.fault(None)
    alive.clear()
    assert reach_test.fault(None) == ""


def test_a_store_that_fails_for_a_moment_is_asked_again(reach_test, monkeypatch):
    """S3 can answer "503 Slow Down" to any request, which is not the node's fault."""
    put, failures = Files.put, [OSError("Slow Down"), OSError("Slow Down")]

    def fail(self, path, content):
        if failures:
            raise failures.pop()
        put(self, path, content)

    monkeypatch.setattr(Files, "put", fail)
    fault, _ = copy(reach_test, reach_test.files)
    assert (fault, failures) == ("", [])
    assert reach_test.is_copied()


def test_other_versions_are_named_and_others_are_not():
    versions = software() | {"torch": "0.1", "ray": "0.1"}
    here = software()["torch"]
    assert version_differences(versions) == f"torch 0.1 (here {here})"
