"""Whether nodes reach the results: what a node answers, and that nothing stays.

Real nodes, which share a folder or do not, are in test_cluster_lab.
"""

from __future__ import annotations

from study.results.files import Files
from study.results.provenance import software
from study.running import reach

COPY = reach.copy_file._function


def test_a_node_that_shares_the_folder_writes_the_word_back(tmp_path):
    test = reach.ReachTest.start(Files(str(tmp_path), "mine"))
    test.nodes["answer"] = "a-node"
    why, theirs = COPY(test.files, test.name, "a-node")
    assert why == ""
    assert test.read_copy("a-node") == test.content
    assert reach.version_differences(theirs) == ""
    test.clean_up()
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_node_with_another_folder_says_so_and_writes_nothing(tmp_path):
    test = reach.ReachTest.start(Files(str(tmp_path / "one"), "mine"))
    why, _ = COPY(Files(str(tmp_path / "two"), "mine"), test.name, "a-node")
    assert why.startswith("FileNotFoundError")
    assert test.read_copy("a-node") is None
    assert not (tmp_path / "two").exists()


def test_a_node_that_may_not_write_says_so(tmp_path):
    test = reach.ReachTest.start(Files(str(tmp_path), "mine"))
    (tmp_path / "mine" / "reach" / f"{test.name}-a-node").mkdir()
    why, _ = COPY(test.files, test.name, "a-node")
    assert "Error" in why


def test_other_versions_are_named_and_others_are_not():
    theirs = software() | {"torch": "0.1", "ray": "0.1"}
    assert (
        reach.version_differences(theirs) == f"torch 0.1 (here {software()['torch']})"
    )
