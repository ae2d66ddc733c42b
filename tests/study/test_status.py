"""The status shows where every run stands, and checks every file."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from study.results.claim import claim
from study.results.store import Store, find_stores
from study.running.session import StudySession
from study.running.survey import survey
from study.spec.options import SweepOptions
from study.spec.studies import Study
from study.status import StatusOptions, status
from tests.study.results.test_store import SETTING, records
from tests.trainables.test_trainable import JOINT, PAIRWISE, actor
from trainables.record import SCHEMA_VERSION
from trainables.request import REQUEST_FILE, Request, stack_name
from trainables.usage import UsageError, run_command


@pytest.fixture
def store(tmp_path):
    made = Store(str(tmp_path / "results"), "mine")
    made.write_records(records(seeds=(0, 1)))
    made.write_records(records(seeds=(2,)))
    made.write_records(records(seeds=(3, 4)))
    return made


def call(function, options):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = function(options)
    return code, out.getvalue().splitlines()


def path_of(store, *seeds):
    name = stack_name(SETTING.setting_id, seeds)
    return Path(store.location(), "records", f"{name}.parquet")


def test_what_is_whole_is_not_bad(store):
    assert call(status, StatusOptions(store.results, check=True)) == (
        0,
        [f"{store.location()}: 5 finished runs, 0 checkpoints, no file is bad"],
    )


def test_bad_files_are_named_and_set_aside(store):
    cut, twice = path_of(store, 2), path_of(store, 3, 4)
    content = cut.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    table = pq.read_table(twice)
    table = table.set_column(5, table.schema.field(5), table.column(5))
    seed = table.schema.get_field_index("seed")
    wrong = [0] * table.num_rows
    pq.write_table(table.set_column(seed, table.schema.field(seed), [wrong]), twice)
    state = Path(store.location(), "checkpoints", "f00d-seeds-1.pt")
    store.save_state("f00d-seeds-1", b"nothing")
    request = Path(store.location(REQUEST_FILE))
    request.write_bytes(b"{")
    code, lines = call(status, StatusOptions(store.results, check=True))
    assert code == 1
    assert [line.partition(": ")[0] for line in lines[:4]] == ["bad"] * 4
    assert lines[0].startswith(f"bad: {cut}: cannot be read as Parquet: ")
    assert lines[1].startswith(f"bad: {twice}: run ")
    assert "run_id does not match the columns of the setting and the seed" in lines[1]
    assert lines[2].startswith(f"bad: {state}: cannot be read as a checkpoint: ")
    assert lines[3].startswith(f"bad: {request}: ")
    assert "corrupt" in lines[3]
    assert lines[4].endswith("4 files are bad; --fix moves them to damaged/")
    assert cut.exists()
    code, lines = call(status, StatusOptions(store.location(), fix=True))
    assert code == 1
    for path in (cut, twice, state, request):
        assert not path.exists()
        assert Path(store.location("damaged"), path.name).exists()
    code, lines = call(status, StatusOptions(store.location(), check=True))
    assert (code, len(lines)) == (0, 1)
    said = call(status, StatusOptions(store.results))[1]
    assert f"{store.location('damaged')} keeps 4 damaged files, which no" in said[-2]
    assert store.finished_runs() == {SETTING.run_id(0), SETTING.run_id(1)}


def test_a_newer_file_is_named_and_left(store):
    path = path_of(store, 2)
    newer = {"schema_version": str(SCHEMA_VERSION + 1)}
    pq.write_table(pq.read_table(path).replace_schema_metadata(newer), path)
    code, lines = call(status, StatusOptions(store.results, fix=True))
    assert code == 1
    assert f"version {SCHEMA_VERSION + 1}" in lines[0]
    assert path.exists()


def test_no_file_is_set_aside_while_a_sweep_is_running(store):
    with (
        claim(store),
        pytest.raises(UsageError, match="another sweep"),
    ):
        status(StatusOptions(store.results, fix=True))


def test_where_there_is_no_study_it_says_so(tmp_path, store):
    (tmp_path / "empty").mkdir()
    for place in ("empty", "nothing"):
        with pytest.raises(UsageError, match="no study in "):
            status(StatusOptions(str(tmp_path / place), check=True))
    with pytest.raises(UsageError, match="no study other in "):
        status(StatusOptions(store.results, study="other"))
    for place in (store.results, store.location(), store.location() + "/"):
        assert find_stores(place) == [store]


def test_the_status_shows_settings_that_train_together(tmp_path, few):
    store = Store(str(tmp_path / "results"), "mine")
    study = Study("mine", JOINT.settings, JOINT.seeds)
    request = Request(study="mine").with_settings(study.rows(), study.seeds)
    request = request.with_stacks(study.rows(), [JOINT.name], 1, [JOINT.setting_ids])
    store.save_request(request)
    actor(store, few, JOINT, every=1).train()
    progress = survey(store, store.load_request(), {})
    assert [own.started for own in progress] == [{0: 1, 3: 1}] * 2
    session = StudySession(SweepOptions(), study, store)
    assert session.plan(1, 1e10) == [JOINT]
    assert list(session._ended_stacks()) == []
    session.finished = {s.run_id(seed) for s in JOINT.settings for seed in JOINT.seeds}
    assert list(session._ended_stacks()) == [JOINT.name]
    store.save_failures({JOINT.name: "ValueError: no"})
    progress = survey(store, store.load_request(), {})
    assert [set(own.failed) for own in progress] == [{0, 3}] * 2
    _, said = call(status, StatusOptions(store.results))
    ids = ", ".join(JOINT.setting_ids)
    assert any(line.startswith(f"Settings {ids} failed with seeds") for line in said)


def test_every_run_stands_somewhere(tmp_path, few):
    setting = PAIRWISE.setting
    store = Store(str(tmp_path / "results"), "mine")
    study = Study("mine", (setting, SETTING), range(8))
    store.save_request(Request(study="mine").with_settings(study.rows(), study.seeds))
    trial = actor(store, few, PAIRWISE, every=1)  # seed 1
    trial.train()
    trial.train()
    rows = records(seeds=(0, 1, 5))
    for row in rows:
        if row["seed"] == 5:
            row["diverged"] = True
    store.write_records(rows)
    store.save_failures({stack_name(SETTING.setting_id, (2, 3)): "ValueError: no"})
    runs = {i: run for check in store.check_records() for i, run in check.runs.items()}
    lines = {
        line.row["problem"]: line for line in survey(store, store.load_request(), runs)
    }
    one, two = lines["permuted"], lines["pairwise"]
    assert (one.finished, one.diverged) == ({0, 1, 5}, {5})
    assert (set(one.failed), one.missing) == ({2, 3}, {4, 6, 7})
    assert (two.started, two.missing) == ({1: 2}, {0, 2, 3, 4, 5, 6, 7})
    code, said = call(status, StatusOptions(store.results))
    assert code == 0
    assert said[0] == f"{store.location()}: no sweep is running"
    failed = f"Setting {SETTING.setting_id} failed with seeds 2-3: ValueError: no. "
    assert said[-2] == f"{failed}Run the same sweep again to retry."
    (whole,) = [line.split() for line in said if line.startswith(" all ")]
    assert whole == ["all", "16", "3", "1", "2", "1", "10"]
    assert "interrupted" in said[1]
    with claim(store):
        said = call(status, StatusOptions(store.location()))[1]
    assert said[0] == f"{store.location()}: a sweep is running"
    assert "running" in said[1]


def test_without_a_request_there_is_still_a_status(store):
    said = call(status, StatusOptions(store.results))[1]
    assert said[-1] == "nothing is left to run"
    assert store.load_request() == Request(study="mine")


def test_a_wrong_call_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_command(status, prog="status", args=[str(tmp_path / "nothing")])
    said = capsys.readouterr()
    assert (stopped.value.code, said.out) == (2, "")
    (line,) = said.err.splitlines()
    assert line.startswith("error: no study in ")
