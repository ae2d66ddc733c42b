"""The store: whole files or none, names that come back, and nothing twice."""

from __future__ import annotations

import getpass
import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.provenance import software
from study.store import Store, parse_stack_name, stack_name
from trainables.command_line import UsageError
from trainables.record import COLUMNS, SCHEMA_VERSION, schema
from trainables.setting import Setting

SETTING = Setting(dataset="mnist-5k", tasks=3, hidden=(4,))


def records(seeds=(0, 1), tasks=3, setting=SETTING):
    """Rows as a run makes them, with nothing measured."""
    made = {
        "study": "mine",
        "setting_id": setting.setting_id,
        "trial_id": "t",
        **setting.row(),
        "task_label": "0",
        "diverged": False,
        "steps": 1,
        "seconds": 0.5,
        "device": "cpu",
    }
    return [
        dict.fromkeys(COLUMNS)
        | made
        | {"seed": seed, "run_id": setting.run_id(seed), "task": task}
        for task in range(tasks)
        for seed in seeds
    ]


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "results"), "mine", software())


def files(store):
    return sorted(p.name for p in Path(store.place).rglob("*") if p.is_file())


@given(st.sets(st.integers(0, 2**32 - 1), min_size=1, max_size=20))
def test_a_stacks_name_comes_back(seeds):
    name = stack_name(SETTING.setting_id, seeds)
    assert parse_stack_name(name) == (SETTING.setting_id, tuple(sorted(seeds)))
    assert re.fullmatch(r"[\w+-]+", name)


@given(st.from_regex(r"[0-9a-f]{1,4}-seeds-[0-9+-]{0,6}", fullmatch=True))
def test_a_name_like_ours_never_fails(name):
    _, seeds = parse_stack_name(name)
    assert len(set(seeds)) <= 10**6


@pytest.mark.parametrize(
    "name", ["f00d", "a-seeds-", "a-seeds--", "a-seeds-1+", "x-seeds-1"]
)
def test_a_strangers_name_has_no_seeds(name):
    assert parse_stack_name(name)[1] == ()


def test_records_come_back_as_they_were(store):
    rows = records()
    store.write(rows)
    (name,) = files(store)
    assert name == stack_name(SETTING.setting_id, [0, 1]) + ".parquet"
    table = pq.read_table(Path(store.place, "records", name))
    assert table.to_pylist() == rows
    assert table.schema.equals(schema(), check_metadata=False)


def test_a_file_says_what_made_it_and_names_nobody(store):
    store.write(records())
    (name,) = files(store)
    content = Path(store.place, "records", name).read_bytes()
    metadata = pq.read_schema(pa.BufferReader(content)).metadata
    said = {k.decode(): v.decode() for k, v in metadata.items()}
    assert said["schema_version"] == str(SCHEMA_VERSION)
    assert set(software()) | {"cpu", "gpu"} <= set(said)
    assert re.fullmatch(r"[0-9a-f]{40}\+?|unknown", said["commit"])
    text = " ".join(said.values())
    for private in (os.uname().nodename, str(Path.home())):
        assert private not in text
        assert private.encode() not in content
    assert not re.search(rf"\b{re.escape(getpass.getuser())}\b", text)


def test_what_is_written_twice_is_there_once(store):
    store.write(records())
    store.write(records())
    assert len(files(store)) == 1


def test_only_runs_with_all_their_tasks_are_finished(store):
    store.write(records(seeds=(0, 1)))
    store.write(records(seeds=(2,), tasks=2))
    assert store.finished() == ({SETTING.run_id(0), SETTING.run_id(1)}, [])


def test_a_task_that_is_there_twice_does_not_stand_for_another(store):
    store.write(records(seeds=(0,), tasks=2) + records(seeds=(0,), tasks=1))
    assert store.finished() == (set(), [])


def test_nothing_is_finished_where_there_is_nothing(store):
    assert store.finished() == (set(), [])
    assert store.interrupted() == []
    assert store.load_state("x") is None
    store.drop_state("x")
    assert not Path(store.place).exists()


def test_a_write_that_fails_leaves_nothing(store):
    name = stack_name(SETTING.setting_id, [0, 1])
    Path(store.place, "records", f"{name}.parquet", "in the way").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        store.write(records())
    assert files(store) == []


def test_records_that_the_schema_does_not_know_are_not_written(store):
    rows = records()
    del rows[0]["steps"]
    with pytest.raises(ValueError, match="steps"):
        store.write(rows)
    assert not Path(store.place).exists()


@pytest.mark.parametrize("damage", ["half", "empty", "text", "other columns"])
def test_a_damaged_file_is_set_aside_and_its_runs_are_to_be_made_again(store, damage):
    store.write(records(seeds=(0,)))
    store.write(records(seeds=(1,)))
    path = Path(
        store.place, "records", f"{stack_name(SETTING.setting_id, [0])}.parquet"
    )
    whole = path.read_bytes()
    if damage == "other columns":
        pq.write_table(pa.table({"a": [1]}), path)
    else:
        cut = {"half": whole[: len(whole) // 2], "empty": b"", "text": b"run_id,task"}
        path.write_bytes(cut[damage])
    damaged = path.read_bytes()
    # to look changes nothing
    assert store.finished(repair=False) == ({SETTING.run_id(1)}, [])
    assert path.read_bytes() == damaged
    aside = Path(f"{path}.damaged")
    assert store.finished() == ({SETTING.run_id(1)}, [str(aside)])
    assert aside.read_bytes() == damaged
    assert not path.exists()
    assert store.finished() == ({SETTING.run_id(1)}, [])


def test_a_file_of_a_newer_version_is_refused_and_left_alone(store):
    store.write(records())
    (name,) = files(store)
    path = Path(store.place, "records", name)
    newer = {"schema_version": str(SCHEMA_VERSION + 1)}
    pq.write_table(pq.read_table(path).replace_schema_metadata(newer), path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=f"schema {SCHEMA_VERSION + 1}") as caught:
        store.finished()
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_states_are_kept_and_forgotten(store):
    name = stack_name(SETTING.setting_id, [3, 4, 5, 9])
    store.save_state(name, b"one")
    store.save_state(name, b"two")
    assert store.load_state(name) == b"two"
    assert store.interrupted() == [(SETTING.setting_id, (3, 4, 5, 9))]
    assert files(store) == [f"{name}.pt"]
    store.drop_state(name)
    assert files(store) == []
    assert store.interrupted() == []


def test_half_written_files_are_not_seen(store):
    for name in ("records/.a.parquet.1f", "records/.b.parquet", "checkpoints/.c.pt"):
        path = Path(store.place, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    assert store.finished() == (set(), [])
    assert store.interrupted() == []


def test_a_relative_path_is_that_of_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store("results", "mine")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    store.write(records())
    assert store.place == str(tmp_path / "results" / "mine")
    assert list(tmp_path.glob("results/mine/records/*.parquet"))


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/results", "mine").place == str(tmp_path / "results" / "mine")


@pytest.mark.parametrize("odd", ["with space", "ünï", "a+b", "100%25", "a?b", "a#b"])
def test_a_folder_may_have_an_odd_name(tmp_path, odd):
    store = Store(str(tmp_path / odd), "mine")
    store.check()
    store.write(records())
    assert store.finished()[0] == {SETTING.run_id(0), SETTING.run_id(1)}
    assert list((tmp_path / odd / "mine" / "records").glob("*.parquet"))


def test_a_file_uri_is_a_folder(tmp_path):
    store = Store(f"file://{tmp_path}/results", "mine")
    store.check()
    store.write(records())
    assert len(store.finished()[0]) == 2
    assert list((tmp_path / "results" / "mine" / "records").glob("*.parquet"))


@pytest.mark.parametrize("uri", ["foo://bar", "s3://", "s3:///x", "file://relative"])
def test_a_uri_that_leads_nowhere_is_refused(uri):
    with pytest.raises(UsageError, match=re.escape(uri)) as caught:
        Store(uri, "mine").check()
    assert "\n" not in str(caught.value)


def test_no_results_folder_is_refused():
    with pytest.raises(UsageError, match="--results is empty"):
        Store("", "mine")


def test_a_file_in_the_way_is_refused_and_nothing_is_written(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for place in (file, file / "below"):
        with pytest.raises(UsageError, match=f"{file} is a file"):
            Store(str(place), "mine").check()
    Store(str(tmp_path / "new" / "below"), "mine").check()
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="may not be written to"):
        Store(str(tmp_path / "results"), "mine").check()
