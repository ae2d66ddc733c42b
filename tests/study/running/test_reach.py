"""Whether nodes reach the results: what a node answers, and that nothing stays.

Real nodes, which share a folder or do not, are in test_cluster_lab.
"""

from __future__ import annotations

from study.results.files import Files
from study.results.provenance import software
from study.running import reach

ASKED = reach.answer._function


def test_a_node_that_shares_the_folder_writes_the_word_back(tmp_path):
    question = reach.Question.put(Files(str(tmp_path), "mine"))
    question.nodes.append("a-node")
    node, why, theirs = ASKED(question.files, question.name, "a-node")
    assert (node, why) == ("a-node", "")
    assert question._read("a-node") == question.word
    assert reach.differences(theirs) == ""
    question.forget()
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_node_with_another_folder_says_so_and_writes_nothing(tmp_path):
    question = reach.Question.put(Files(str(tmp_path / "one"), "mine"))
    _, why, _ = ASKED(Files(str(tmp_path / "two"), "mine"), question.name, "a-node")
    assert why.startswith("FileNotFoundError")
    assert question._read("a-node") is None
    assert not (tmp_path / "two").exists()


def test_a_node_that_may_not_write_says_so(tmp_path):
    question = reach.Question.put(Files(str(tmp_path), "mine"))
    (tmp_path / "mine" / "reach" / f"{question.name}-a-node").mkdir()
    _, why, _ = ASKED(question.files, question.name, "a-node")
    assert "Error" in why


def test_other_versions_are_named_and_others_are_not():
    theirs = software() | {"torch": "0.1", "ray": "0.1"}
    assert reach.differences(theirs) == f"torch 0.1 (here {software()['torch']})"
