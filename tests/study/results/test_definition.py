"""study.json: the union of what was asked for, and the stacks it was begun with."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from study.plan.trials import plan
from study.results.definition import FILE, Definition, keep, load
from study.results.files import Files
from study.spec.studies import Study, changed, grid
from trainables.optimizers import GNP, SGD
from trainables.problems import Permuted
from trainables.record import SCHEMA_VERSION
from trainables.usage import UsageError

STUDY = Study("mine", grid((Permuted(),), (SGD(), GNP()), dataset="mnist-5k"), (0, 1))
ONE, TWO = (setting.setting_id for setting in STUDY.settings)


@pytest.fixture
def files(tmp_path):
    return Files(str(tmp_path / "results"), "mine")


def test_it_comes_back(files):
    assert load(files) == Definition()
    trials = plan(STUDY, set(), [], None, 2)
    asked = Definition().asked_too(STUDY).planned(STUDY, trials, 2)
    keep(files, asked)
    assert load(files) == asked
    before = (files.folder / FILE).stat().st_mtime_ns
    keep(files, load(files))
    assert (files.folder / FILE).stat().st_mtime_ns == before
    text = (files.folder / FILE).read_text()
    assert json.loads(text)["settings"][0]["seeds"] == "0-1"
    for private in (os.uname().nodename, str(Path.home())):
        assert private not in text


def test_it_is_the_union_whatever_the_order():
    more = changed(STUDY, seeds=5)
    short = changed(STUDY, tasks=3)
    one = Definition().asked_too(STUDY).asked_too(more).asked_too(short)
    other = Definition().asked_too(short).asked_too(more).asked_too(STUDY)
    assert one.to_json("mine") == other.to_json("mine")
    assert one.seeds[ONE] == set(range(5))
    assert len(one.settings) == 4
    assert one.others(STUDY) == 2
    assert one.asked_too(STUDY) == one


def test_an_interrupted_study_keeps_its_stacks():
    seeds = changed(STUDY, seeds=6)
    trials = plan(seeds, set(), [], None, 3)
    names = {trial.name for trial in trials}
    asked = Definition().asked_too(seeds).planned(seeds, trials, 3)
    # one setting is done: with what is left alone, the stacks would be smaller
    done = {seeds.settings[0].run_id(seed) for seed in seeds.seeds}
    left = plan(seeds, done, asked.kept_stacks(3), None, 3)
    assert {trial.name for trial in left} < names
    fresh = plan(seeds, done, [], None, 3)
    assert not {trial.name for trial in fresh} <= names
    assert asked.kept_stacks(2) == asked.kept_stacks(3)
    assert asked.kept_stacks(4) == []  # room for more trials is to be used
    other = Study("mine", seeds.settings[:1], (7,))
    both = asked.planned(other, plan(other, set(), [], None, 3), 3)
    assert {s for s in both.stacks if s.startswith(TWO)} == {
        s for s in names if s.startswith(TWO)
    }


def test_one_of_a_newer_version_is_refused(files):
    whole = json.loads(Definition().to_json("mine"))
    newer = json.dumps(whole | {"schema_version": SCHEMA_VERSION + 1}).encode()
    files.put(FILE, newer)
    with pytest.raises(UsageError, match="newer version") as caught:
        load(files, repair=print)
    assert "\n" not in str(caught.value)
    assert files.read(FILE) == newer


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"schema_version": 1}', b"\xff"]
)
def test_one_that_is_damaged_is_set_aside(files, content):
    files.put(FILE, content)
    assert load(files) == Definition()
    assert files.read(FILE) == content
    told = []
    assert load(files, repair=told.append) == Definition()
    assert told == [
        f"cannot be read, set aside to be made again: {files.location(FILE)}.damaged"
    ]
    assert files.read(f"{FILE}.damaged") == content
