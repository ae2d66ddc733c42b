"""Every file of a study is checked, and damaged ones are set aside."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from study.results.store import Store, find_stores
from tests.study.results.test_store import SETTING, records
from trainables.record import SCHEMA_VERSION
from trainables.request import REQUEST_FILE, Request, stack_name
from trainables.usage import UsageError


@pytest.fixture
def store(tmp_path):
    store = Store(str(tmp_path / "results"), "mine")
    for seeds in ((0, 1), (2,), (3, 4)):
        store.write_records(records(seeds=seeds))
    store.save_request(Request(study="mine"))
    return store


def path_of(*seeds):
    return f"records/{stack_name(SETTING.setting_id, seeds)}.parquet"


def damaged(store):
    return {c.path: c.faults[0] for c in store.check_files() if c.faults}


def test_good_files_have_no_faults(store):
    checks = store.check_files()
    assert [check.path for check in checks] == sorted(
        path_of(*seeds) for seeds in ((0, 1), (2,), (3, 4))
    )
    assert damaged(store) == {}
    assert sum(len(check.runs) for check in checks) == 5


def test_damaged_files_are_named_and_set_aside(store):
    cut, wrong = path_of(2), path_of(3, 4)
    content = store.read(cut)
    store.put(cut, content[: len(content) // 2])
    table = pq.read_table(store.location(wrong))
    index = table.schema.get_field_index("seed")
    seeds = [0] * table.num_rows
    table = table.set_column(index, table.schema.field(index), [seeds])
    pq.write_table(table, store.location(wrong))
    store.save_state("f00d-seeds-1", b"nothing")
    store.put(REQUEST_FILE, b"{")
    faults = damaged(store)
    state = "checkpoints/f00d-seeds-1.pt"
    assert set(faults) == {cut, wrong, state, REQUEST_FILE}
    assert faults[cut].startswith("cannot be read as Parquet: ")
    assert (
        "run_id does not match the columns of the setting and the seed" in faults[wrong]
    )
    assert faults[state].startswith("cannot be read as a checkpoint: ")
    assert "corrupt" in faults[REQUEST_FILE]
    for path in faults:
        new = store.set_aside(path)
        assert not Path(store.location(path)).exists()
        assert new == store.location(f"damaged/{Path(path).name}")
        assert Path(new).exists()
    assert damaged(store) == {}
    assert store.finished_runs() == {SETTING.run_id(0), SETTING.run_id(1)}


def test_a_newer_file_is_named_as_newer(store):
    path = store.location(path_of(2))
    newer = {"schema_version": str(SCHEMA_VERSION + 1)}
    pq.write_table(pq.read_table(path).replace_schema_metadata(newer), path)
    assert f"version {SCHEMA_VERSION + 1}" in damaged(store)[path_of(2)]
    assert [c.path for c in store.check_files() if c.newer] == [path_of(2)]


def test_studies_are_found_by_their_folder_or_the_one_above(store, tmp_path):
    assert find_stores(store.results) == [store]
    assert find_stores(store.location()) == [store]
    assert find_stores(store.location() + "/") == [store]
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "nothing"):
        with pytest.raises(UsageError, match="no study in "):
            find_stores(str(tmp_path / folder))
    with pytest.raises(UsageError, match="no study other in "):
        find_stores(store.results, "other")
