"""A compaction that is killed at any moment leaves each row once for every reader."""

from __future__ import annotations

import itertools
import re
import shutil
import time
from pathlib import Path

import attrs
import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis.records import load as loading
from study.results import compaction
from study.results.claim import claim
from study.results.compaction import background_compaction, compact
from study.results.files import Files
from study.results.store import Store, to_bytes
from study.status import StatusOptions, status
from tests.study.results.test_store import SETTING, records
from trainables.record_files import REPLACES, replaced_names
from trainables.request import stack_name
from trainables.setting import Setting
from trainables.usage import UsageError

OTHER = Setting(dataset="mnist-5k", tasks=2, hidden=(5,))
FILES = [(SETTING, (0, 1)), (OTHER, (0,)), (OTHER, (1,))]
RUNS = {setting.run_id(seed) for setting, seeds in FILES for seed in seeds}
ROWS = {
    (setting.run_id(seed), task)
    for setting, seeds in FILES
    for seed in seeds
    for task in range(setting.tasks)
}


def write(store, files=FILES):
    for setting, seeds in files:
        rows = records(seeds, setting.tasks, setting)
        for row in rows:
            row["test_accuracy"] = 1 / (3 + row["seed"] + row["task"])
        store.write_records(rows)


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """The small files, by path; the last has the metadata of another commit."""
    folder = str(tmp_path_factory.mktemp("made"))
    write(Store(folder, "mine", {"commit": "one"}), FILES[:-1])
    store = Store(folder, "mine", {"commit": "two"})
    write(store, FILES[-1:])
    return {path: store.read(path) for path in paths(store)}


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.chaos)])
def new_store(request, tmp_path, contents):
    """A function that returns a new store with the small files."""
    if request.param == "folder":
        results = str(tmp_path / "results")
    else:
        bucket = request.getfixturevalue("bucket")
        name = re.sub(r"\W+", "-", request.node.name)
        results = bucket.uri.replace("prefix", name)
    numbers = itertools.count()

    def make():
        store = Store(results, f"study-{next(numbers)}")
        for path, content in contents.items():
            store.put(path, content)
        return store

    return make


@pytest.fixture
def store(tmp_path):
    store = Store(str(tmp_path / "results"), "mine", {"commit": "one"})
    write(store)
    return store


def paths(store):
    return [f"records/{name}" for name in store.names("records", ".parquet")]


def keys(rows):
    return sorted((row["run_id"], row["task"]) for row in rows)


def read_by_setting(store):
    rows = []
    for setting in (SETTING, OTHER):
        seeds = [s for own, seeds in FILES if own is setting for s in seeds]
        rows += store.read_records(setting.setting_id, seeds)
    return rows


def assert_each_row_once(store):
    assert store.finished_runs() == RUNS
    assert not any(check.faults for check in store.check_records())
    assert keys(read_by_setting(store)) == sorted(ROWS)
    frame = loading.load(store.location(), ["test_accuracy"])
    assert keys(frame.to_dict("records")) == sorted(ROWS)


def plain(store):
    """Return the rows for a program that does not know about merged files."""
    fs, root = store.root()
    return pq.read_table(f"{root}/records", filesystem=fs)


class CutError(Exception):
    """Stands for a SIGKILL of the process."""


class SerialPool:
    """A ThreadPoolExecutor that runs one call after another."""

    def __init__(self, *words):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *words):
        pass

    map = staticmethod(map)


@pytest.fixture
def before_each(monkeypatch):
    """A function that sets a hook, which runs before each of some operations."""
    for module in ("study.results.store", "analysis.records.load"):
        monkeypatch.setattr(f"{module}.ThreadPoolExecutor", SerialPool)
    hooks = []

    def wrap(owner, name):
        real = getattr(owner, name)

        def call(*words, **named):
            if hooks:
                hooks[0]()
            return real(*words, **named)

        monkeypatch.setattr(owner, name, call)

    def install(function, *operations):
        hooks[:] = [function]
        for owner, name in operations:
            wrap(owner, name)
        return hooks.clear

    return install


def test_the_rows_stay_as_they_are(store):
    write(attrs.evolve(store, made_by={"commit": "two"}), [(OTHER, (2,))])
    before, frame = plain(store), loading.load(store.location())
    runs = [c.runs for c in store.check_records()]
    assert compact(store) == (4, 2)
    after = plain(store)
    order = [("run_id", "ascending"), ("task", "ascending")]
    assert after.sort_by(order).equals(before.sort_by(order))
    new = loading.load(store.location())
    pd.testing.assert_frame_equal(
        *(f.sort_values(["run_id", "task"], ignore_index=True) for f in (frame, new))
    )
    new_runs = [check.runs for check in store.check_records()]
    assert {k: v for part in new_runs for k, v in part.items()} == {
        k: v for part in runs for k, v in part.items()
    }
    # the records still have their metadata, but not the list of replaced files
    made = {f.metadata["commit"] for f in loading.load_records(store.location()).files}
    assert made == {"one", "two"}
    assert all(
        REPLACES not in f.metadata for f in loading.load_records(store.location()).files
    )
    assert compact(store) == (2, 2)


def test_merged_files_are_merged_again_until_they_are_large(store, monkeypatch):
    assert compact(store) == (3, 1)
    write(store, [(OTHER, (2,))])
    assert compact(store) == (2, 1)
    (path,) = paths(store)
    assert path.startswith("records/merged-000002-")
    assert (
        len(replaced_names(path, pq.read_metadata(store.location(path)).metadata)) == 5
    )
    for limit, value in (("ROWS", 20), ("FILES", 10)):
        with monkeypatch.context() as patch:
            patch.setattr(compaction, limit, value)
            write(store, [(OTHER, (3,)), (OTHER, (4,))])
            assert compact(store) == (3, 2)
            new = {*paths(store)} - {path}
            assert len(new) == 1
            store.delete(new.pop())


def test_a_merged_file_has_no_more_rows_than_the_limit(store, monkeypatch):
    monkeypatch.setattr(compaction, "ROWS", 6)
    write(store, [(OTHER, (2,)), (OTHER, (3,))])
    compact(store)
    counts = [check.rows for check in store.check_records()]
    assert sum(counts) == len(ROWS) + 4
    assert max(counts) == 6


def test_a_cut_at_any_write_loses_and_doubles_nothing(new_store, before_each):
    whole = new_store()
    compact(whole)
    final = {path: whole.read(path) for path in paths(whole)}
    assert len(final) == 2
    left = [0]

    def cut():
        left[0] -= 1
        if left[0] < 0:
            raise CutError

    stop_cutting = before_each(cut, (Files, "put"), (Files, "delete"))
    for writes in range(9):
        store = new_store_uncut(new_store, left)
        left[0] = writes
        try:
            compact(store)
            break
        except CutError:
            left[0] = 99
        assert_each_row_once(store)
        # other programs find each row, but twice until the small file is deleted
        rows = keys(plain(store).to_pylist())
        assert set(rows) == ROWS
        assert (len(rows) > len(ROWS)) == (writes in (1, 2))
        compact(store)
        assert {path: store.read(path) for path in paths(store)} == final
    stop_cutting()
    assert writes == 3  # a put, and the deletes of two files


def new_store_uncut(new_store, left):
    left[0] = 99
    return new_store()


READERS = {
    "runs": lambda store: store.finished_runs() == RUNS,
    "rows": lambda store: keys(read_by_setting(store)) == sorted(ROWS),
    "load": lambda store: (
        keys(loading.load(store.location(), ["test_accuracy"]).to_dict("records"))
        == sorted(ROWS)
    ),
}


@pytest.fixture(scope="module")
def states(contents, tmp_path_factory):
    """The files before a compaction, after one and after two compactions."""
    store = Store(str(tmp_path_factory.mktemp("states")), "mine")
    states = [contents]
    for path, content in contents.items():
        store.put(path, content)
    for _ in range(2):
        compact(store)
        states.append({path: store.read(path) for path in paths(store)})
        for path in paths(store):
            table = pq.read_table(store.location(path))
            metadata = {**table.schema.metadata, b"commit": b"the same"}
            store.put(path, to_bytes(table.replace_schema_metadata(metadata)))
    return states


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_in_the_middle_sees_each_row_once(
    reader, states, before_each, tmp_path
):
    """Two compactions happen, before one operation of the reader or before two."""
    operations = [
        *((Files, name) for name in ("read", "names")),
        *((loading, "_list_files"), (loading._Reader, "read")),
    ]
    store, count, at = Store(str(tmp_path / "results"), "mine"), [0], [0, 0]

    def change_state():
        for number, state in zip(at, states[1:], strict=True):
            if number == count[0]:
                replace_files(store.folder, state)
        count[0] += 1

    before_each(change_state, *operations)
    moments = ((first, gap) for first in itertools.count() for gap in (0, 1, 3))
    for first, gap in moments:
        replace_files(store.folder, states[0])
        count[0], at[:] = 0, (first, first + gap)
        assert READERS[reader](store), at
        if first >= count[0]:
            break
    assert first >= 5


def replace_files(folder, files):
    """Write these files, then delete all others, as a compaction does."""
    (folder / "records").mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        (folder / path).write_bytes(content)
    for path in (folder / "records").iterdir():
        if f"records/{path.name}" not in files:
            path.unlink()


def test_files_that_a_cut_has_left_are_deleted_by_the_next_sweep_or_fix(store):
    small = {path: store.read(path) for path in paths(store)}
    compact(store)
    (merged,) = paths(store)
    for clean in (
        lambda: store.finished_runs(repair=True),
        lambda: status(StatusOptions(store.results, fix=True)),
    ):
        for path, content in small.items():
            store.put(path, content)
        assert_each_row_once(store)
        clean()
        assert paths(store) == [merged]
        assert store.count_damaged_files() == 0


@pytest.mark.parametrize("damage", ["cut", "page", "list", "renamed"])
def test_a_merged_file_that_is_not_as_it_was_replaces_nothing(store, damage, tmp_path):
    small = {path: store.read(path) for path in paths(store)}
    compact(store)
    (merged,) = paths(store)
    content = bytearray(store.read(merged))
    for path, original in small.items():
        store.put(path, original)
    one = stack_name(OTHER.setting_id, [0]).encode()
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "page":
        content[50] ^= 1
    elif damage == "list":
        assert content.count(one) == 1  # the other copy is coded in base 64
        content = content.replace(one, one[:-1] + b"7")
    else:
        store.delete(merged)
        merged = "records/0123.parquet"
    store.put(merged, bytes(content))
    bad = [check for check in store.check_records() if check.faults]
    whole = damage in ("list", "renamed")
    assert len(bad) == (len(small) if whole else 1)
    assert store.finished_runs(repair=True) == RUNS
    assert paths(store) == ([merged] if whole else sorted(small))


def test_what_the_store_does_not_keep_is_not_deleted(store, monkeypatch):
    before = {path: store.read(path) for path in paths(store)}
    real = Files.put
    monkeypatch.setattr(Files, "put", lambda s, p, c: real(s, p, c[:-9]))
    with pytest.raises(OSError, match="small files are kept"):
        compact(store)
    assert {path: store.read(path) for path in paths(store)} == before


def test_bad_files_and_runs_that_are_in_two_files_are_left(store):
    write(store, [(SETTING, (0, 1, 2))])
    store.put("records/0.parquet", b"bad")
    bad = {check.path for check in store.check_records() if check.faults}
    assert len(bad) == 2
    assert compact(store) == (5, 3)
    assert bad < set(paths(store))


def test_the_command_says_what_it_did(store, capsys):
    options = StatusOptions(store.results, compact=True)
    assert status(options) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line == f"{store.location()}: merged 3 records files into 1"
    with claim(store), pytest.raises(UsageError, match="another sweep is running"):
        status(options)


@pytest.mark.parametrize("other", ["check", "fix"])
def test_the_command_does_one_thing_at_a_time(other):
    with pytest.raises(UsageError, match="run --fix first"):
        StatusOptions("x", compact=True, **{other: True})


def test_a_sweep_that_has_lost_its_claim_writes_no_merged_file(store):
    stale = Store(store.results, store.study)
    (group,) = compaction._groups(stale, stale.check_records()[:2])
    compact(store)
    before = paths(store)

    class Lost:
        def check(self):
            raise OSError("lost")

    stale = attrs.evolve(stale, claim=Lost())
    with pytest.raises(OSError, match="lost"):
        compaction._merge(stale, *group)
    assert paths(store) == before


def test_two_folders_compare_as_equal(store, capsys):
    from analysis.tables.diff import print_difference

    copy = Path(store.results).with_name("copy")
    shutil.copytree(store.results, copy)
    compact(store)
    print_difference(str(copy), store.results)
    printed = capsys.readouterr().out
    assert "the same code, versions and hardware" in printed
    assert f"{len(ROWS)} records" in printed
    assert "0 in A only, 0 in B only" in printed


def test_a_running_sweep_merges_its_files_when_there_are_many(store, monkeypatch):
    monkeypatch.setattr(compaction, "FILES", 3)
    with background_compaction(store, pause=0.01):
        wait_until(lambda: len(paths(store)) == 1)
        for seed in range(2, 5):
            assert_each_row_once_of(store, seed)
            write(store, [(OTHER, (seed,))])
        wait_until(lambda: len(paths(store)) == 2)
    assert_each_row_once_of(store, 5)


def wait_until(done):
    for _ in range(3000):
        if done():
            return
        time.sleep(0.01)
    raise AssertionError("it never happened")


def assert_each_row_once_of(store, stop):
    runs = RUNS | {OTHER.run_id(seed) for seed in range(2, stop)}
    assert store.finished_runs() == runs
    assert not any(check.faults for check in store.check_records())
