"""The store writes a file as a whole or not at all, and no row twice."""

from __future__ import annotations

import getpass
import json
import os
import re
import time
from pathlib import Path

import attrs
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.results.file_check import check_records_file
from study.results.files import Files, notice, retry
from study.results.provenance import software
from study.results.store import Store
from trainables.record import SCHEMA_VERSION, all_columns, schema, to_table
from trainables.request import REQUEST_FILE, Request, stack_name
from trainables.setting import Setting
from trainables.usage import UsageError

SETTING = Setting(dataset="mnist-5k", tasks=3, hidden=(4,))


def records(seeds=(0, 1), tasks=3, setting=SETTING):
    """Return the rows of runs without their measurements."""
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
        dict.fromkeys(all_columns())
        | made
        | {"seed": seed, "run_id": setting.run_id(seed), "task": task}
        for task in range(tasks)
        for seed in seeds
    ]


def _content():
    sink = pa.BufferOutputStream()
    pq.write_table(
        to_table(records()), sink, compression="zstd", write_page_checksum=True
    )
    return sink.getvalue().to_pybytes()


CONTENT = _content()


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "results"), "mine", software())


def files(store):
    return sorted(p.name for p in Path(store.location()).rglob("*") if p.is_file())


def test_records_come_back_as_they_were(store):
    rows = records()
    store.write_records(rows)
    (name,) = files(store)
    assert name == stack_name(SETTING.setting_id, [0, 1]) + ".parquet"
    table = pq.read_table(Path(store.location(), "records", name))
    assert table.to_pylist() == rows
    assert table.schema.equals(schema(), check_metadata=False)


def test_a_file_says_what_made_it_and_names_nobody(store):
    store.write_records(records())
    (name,) = files(store)
    content = Path(store.location(), "records", name).read_bytes()
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
    store.write_records(records())
    store.write_records(records())
    assert len(files(store)) == 1


def rewrite(store, change, seeds=(0,)):
    """Write records after a change; return the only fault of the file."""
    rows = records(seeds)
    store.write_records(rows)
    (name,) = files(store)
    path = Path(store.location(), "records", name)
    table = pa.Table.from_pylist(change(rows), schema=pq.read_schema(path))
    pq.write_table(table, path)
    (check,) = store.check_records()
    assert store.finished_runs(repair=True) == set()
    assert Path(store.location("damaged"), name).exists()
    assert files(store) == [name]
    (fault,) = check.faults
    return fault


def test_a_file_that_lacks_a_task_is_set_aside(store):
    fault = rewrite(store, lambda rows: rows[:-1])
    assert fault == f"run {SETTING.run_id(0)} (seed 0): has 2 of its 3 tasks"


def test_a_task_that_is_there_twice_does_not_stand_for_another(store):
    fault = rewrite(store, lambda rows: [*rows[:-1], rows[0]])
    assert fault == f"run {SETTING.run_id(0)} (seed 0): duplicate task"


@pytest.mark.parametrize("column", ["lr", "seed", "epochs"])
def test_rows_that_are_another_runs_are_set_aside(store, column):
    def change(rows):
        return [row | {column: row[column] * 3 + 1} for row in rows]

    assert "run_id does not match the columns of the setting and the seed" in rewrite(
        store, change
    )


def test_a_wrong_setting_id_is_set_aside(store):
    def change(rows):
        return [row | {"setting_id": "f00d"} for row in rows]

    assert "setting_id does not match the columns of the setting" in rewrite(
        store, change
    )


def test_a_run_that_is_in_two_files_is_kept_once(store, capsys):
    store.write_records(records(seeds=(0, 1, 2)))
    store.write_records(records(seeds=(1,)))
    every = {SETTING.run_id(seed) for seed in (0, 1, 2)}
    assert store.finished_runs(repair=True) == every
    message = capsys.readouterr().out
    assert "damaged/" in message
    assert "seeds-1.parquet; missing runs" in message
    assert f": run {SETTING.run_id(1)} is also in " in message
    # other programs that read the folder find each run only once
    rows = pd.read_parquet(store.location("records"))
    assert sorted(rows["seed"].unique()) == [0, 1, 2]
    assert len(rows) == 3 * SETTING.tasks


def test_storage_that_fails_sets_no_file_aside(store, monkeypatch):
    store.write_records(records())
    before = files(store)

    def fail(self, path):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Files, "read", fail)
        with pytest.raises(OSError, match="Input/output"):
            store.finished_runs(repair=True)
    assert files(store) == before
    assert store.finished_runs() == {SETTING.run_id(0), SETTING.run_id(1)}


def test_a_file_with_a_name_in_it_that_is_no_text_is_not_whole():
    """A flipped bit in the name of a column gives another error of pyarrow."""
    broken = CONTENT.replace(b"setting_id", b"\xf3etting_id")
    assert check_records_file("a", broken).faults


@given(st.data())
@settings(max_examples=200)
def test_a_file_that_is_not_as_it_was_is_never_whole(data):
    content = CONTENT
    if data.draw(st.booleans(), "cut"):
        changed = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        place = data.draw(st.integers(0, len(content) - 1))
        changed = bytearray(content)
        changed[place] ^= data.draw(st.integers(1, 255))
    after = check_records_file("a", bytes(changed))
    # every change of the content is found
    assert after.faults or (
        after.runs == check_records_file("a", content).runs
        and pq.read_table(pa.BufferReader(changed)).equals(
            pq.read_table(pa.BufferReader(content))
        )
    )
    if len(changed) < len(content):
        assert after.faults


def test_nothing_is_finished_where_there_is_nothing(store):
    assert store.finished_runs(repair=True) == set()
    assert store.interrupted_stacks() == []
    assert store.load_state("x") is None
    store.drop_state("x")
    assert not Path(store.location()).exists()


def test_a_write_that_fails_leaves_nothing(store):
    name = stack_name(SETTING.setting_id, [0, 1])
    Path(store.location(), "records", f"{name}.parquet", "in the way").mkdir(
        parents=True
    )
    with pytest.raises(IsADirectoryError):
        store.write_records(records())
    assert files(store) == []


def test_records_that_the_schema_does_not_know_are_not_written(store):
    rows = records()
    del rows[0]["steps"]
    with pytest.raises(ValueError, match="steps"):
        store.write_records(rows)
    assert not Path(store.location()).exists()


@pytest.mark.parametrize("damage", ["half", "empty", "text", "other columns"])
def test_a_damaged_file_is_set_aside_and_its_runs_are_to_be_made_again(
    store, damage, capsys
):
    store.write_records(records(seeds=(0,)))
    store.write_records(records(seeds=(1,)))
    path = Path(
        store.location(), "records", f"{stack_name(SETTING.setting_id, [0])}.parquet"
    )
    whole = path.read_bytes()
    if damage == "other columns":
        pq.write_table(pa.table({"a": [1]}), path)
    else:
        cut = {"half": whole[: len(whole) // 2], "empty": b"", "text": b"run_id,task"}
        path.write_bytes(cut[damage])
    damaged = path.read_bytes()
    # without `repair`, nothing changes
    assert store.finished_runs() == {SETTING.run_id(1)}
    assert path.read_bytes() == damaged
    aside = Path(store.location("damaged"), path.name)
    assert store.finished_runs(repair=True) == {SETTING.run_id(1)}
    (message,) = capsys.readouterr().out.splitlines()
    assert message.startswith(f"Damaged file moved to {aside}; missing runs will be ")
    assert aside.read_bytes() == damaged
    assert not path.exists()
    assert store.finished_runs() == {SETTING.run_id(1)}
    assert set(pd.read_parquet(store.location("records"))["seed"]) == {1}


def test_a_file_that_is_damaged_twice_is_kept_twice(store):
    for content in (b"one", b"two"):
        store.put("records/a.parquet", content)
        new = store.set_aside("records/a.parquet")
        assert Path(new).read_bytes() == content
    assert files(store) == ["a.parquet", "a.parquet-2"]
    assert store.names("records", "") == []


def test_damaged_files_of_older_versions_are_counted_and_moved(store):
    store.write_records(records())
    old = ("records/a.parquet.damaged", "checkpoints/b.pt.damaged", "c.json.damaged")
    for path in old:
        store.put(path, b"bad")
    assert store.count_damaged_files() == 3
    store.move_old_damaged_files()
    assert store.names("damaged", "") == ["a.parquet", "b.pt", "c.json"]
    assert store.count_damaged_files() == 3
    assert len(pd.read_parquet(store.location("records"))) == 2 * SETTING.tasks


def test_a_file_of_a_newer_version_is_refused_and_left_alone(store):
    store.write_records(records())
    (name,) = files(store)
    path = Path(store.location(), "records", name)
    newer = {"schema_version": str(SCHEMA_VERSION + 1)}
    pq.write_table(pq.read_table(path).replace_schema_metadata(newer), path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=f"version {SCHEMA_VERSION + 1}") as caught:
        store.finished_runs(repair=True)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_states_are_kept_and_forgotten(store):
    name = stack_name(SETTING.setting_id, [3, 4, 5, 9])
    store.save_state(name, b"one")
    store.save_state(name, b"two")
    assert store.load_state(name) == b"two"
    assert store.interrupted_stacks() == [(SETTING.setting_id, (3, 4, 5, 9))]
    assert files(store) == [f"{name}.pt"]
    store.drop_state(name)
    assert files(store) == []
    assert store.interrupted_stacks() == []


def test_half_written_files_are_not_seen(store):
    for name in ("records/.a.parquet.1f", "records/.b.parquet", "checkpoints/.c.pt"):
        path = Path(store.location(), name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    assert store.finished_runs(repair=True) == set()
    assert store.interrupted_stacks() == []


def test_a_relative_path_is_that_of_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store("results", "mine")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    store.write_records(records())
    assert store.location() == str(tmp_path / "results" / "mine")
    assert list(tmp_path.glob("results/mine/records/*.parquet"))


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/results", "mine").location() == str(tmp_path / "results" / "mine")


@pytest.mark.parametrize("odd", ["with space", "ünï", "a+b", "100%25", "a?b", "a#b"])
def test_a_folder_may_have_an_odd_name(tmp_path, odd):
    store = Store(str(tmp_path / odd), "mine")
    store.check_access()
    store.write_records(records())
    assert store.finished_runs() == {SETTING.run_id(0), SETTING.run_id(1)}
    assert list((tmp_path / odd / "mine" / "records").glob("*.parquet"))


def test_a_file_uri_is_a_folder(tmp_path):
    store = Store(f"file://{tmp_path}/results", "mine")
    store.check_access()
    store.write_records(records())
    assert len(store.finished_runs()) == 2
    assert list((tmp_path / "results" / "mine" / "records").glob("*.parquet"))


@pytest.mark.parametrize("uri", ["foo://bar", "s3://", "s3:///x", "file://relative"])
def test_a_uri_that_leads_nowhere_is_refused(uri):
    with pytest.raises(UsageError, match=re.escape(uri)) as caught:
        Store(uri, "mine").check_access()
    assert "\n" not in str(caught.value)


def test_no_results_folder_is_refused():
    with pytest.raises(UsageError, match="--results is empty"):
        Store("", "mine")


def test_a_file_in_the_way_is_refused_and_nothing_is_written(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for place in (file, file / "below"):
        with pytest.raises(UsageError, match=f"{file} is a file"):
            Store(str(place), "mine").check_access()
    Store(str(tmp_path / "new" / "below"), "mine").check_access()
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="is write-protected"):
        Store(str(tmp_path / "results"), "mine").check_access()


def test_keys_in_a_uri_are_refused_and_not_repeated():
    with pytest.raises(UsageError, match="AWS_ACCESS_KEY_ID") as caught:
        Store("s3://me:hidden@bucket/x", "mine")
    assert "hidden" not in str(caught.value)


def test_what_a_killed_writer_left_goes_when_it_is_old(store):
    store.write_records(records())
    folder = Path(store.location(), "records")
    for name, age in ((".x.parquet.0a1b", 100), (".y.parquet.0a1b", 1)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    store.delete_partial_files()
    assert sorted(p.name for p in folder.iterdir() if p.name[0] == ".") == [
        ".y.parquet.0a1b"
    ]
    assert len(files(store)) == 2


def test_failures_are_kept_until_they_are_forgotten(store):
    assert store.load_failures() == {}
    store.save_failures({"f00d-seeds-0": "ValueError: no"})
    assert store.load_failures() == {"f00d-seeds-0": "ValueError: no"}
    store.save_failures({})
    assert store.load_failures() == {}
    Path(store.location(), "failed.json").write_text("[")
    assert store.load_failures() == {}


def test_storage_that_fails_is_retried_and_then_given_up(monkeypatch, capsys):
    monkeypatch.setattr("trainables.patience.FIRST_PAUSE", 0.01)
    left = [OSError(28, "full"), OSError(28, "full")]

    def action():
        if left:
            raise left.pop()
        return 7

    assert retry(action, limit=5) == 7
    (message,) = capsys.readouterr().out.splitlines()
    assert message == "Storage error, retrying for 5 s: OSError: [Errno 28] full"
    with pytest.raises(OSError, match="full"):
        retry(lambda: (_ for _ in ()).throw(OSError(28, "full")), limit=0)


def test_storage_that_does_not_answer_is_named_once(capsys):
    with notice(0.02):
        time.sleep(0.1)
    (line,) = capsys.readouterr().out.splitlines()
    assert line == "The storage has not answered for 0.02 s. Waiting for it."
    with notice(20):
        pass
    assert capsys.readouterr().out == ""


REQUEST = Request(study="mine").with_settings(
    {SETTING.setting_id: SETTING.row()}, (0, 1)
)


def test_a_request_is_saved_when_it_changes(store):
    assert store.load_request() == Request(study="mine")
    store.save_request(REQUEST)
    assert store.load_request() == REQUEST
    before = (store.folder / REQUEST_FILE).stat().st_mtime_ns
    store.save_request(store.load_request())
    assert (store.folder / REQUEST_FILE).stat().st_mtime_ns == before
    text = (store.folder / REQUEST_FILE).read_text()
    for private in (os.uname().nodename, str(Path.home())):
        assert private not in text


def test_a_request_follows_its_folder_to_a_new_name(store):
    store.save_request(REQUEST)
    store.folder.rename(store.folder.parent / "renamed")
    renamed = Store(store.results, "renamed").load_request()
    assert renamed == attrs.evolve(REQUEST, study="renamed")


def test_a_request_of_a_newer_version_is_refused_and_left(store):
    content = json.loads(REQUEST.to_bytes()) | {"schema_version": SCHEMA_VERSION + 1}
    newer = json.dumps(content).encode()
    store.put(REQUEST_FILE, newer)
    with pytest.raises(UsageError, match=f"version {SCHEMA_VERSION + 1}") as caught:
        store.load_request()
    assert str(caught.value).startswith(store.location())
    assert store.read(REQUEST_FILE) == newer


@pytest.mark.parametrize("content", [b"", b"{", REQUEST.to_bytes()[:-9]])
def test_a_damaged_request_is_refused_in_one_line_and_left(store, content):
    store.put(REQUEST_FILE, content)
    with pytest.raises(UsageError) as caught:
        store.load_request()
    command = f"python -m study.status {store.results} --fix"
    assert command in str(caught.value)
    assert str(caught.value).startswith(store.location(REQUEST_FILE))
    assert "\n" not in str(caught.value)
    assert store.read(REQUEST_FILE) == content
