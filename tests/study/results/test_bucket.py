"""Results in moto's object store, on loopback; a test can make the store fail."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from study.results.compaction import compact
from study.results.store import Store, find_stores
from study.status import StatusOptions, status
from tests.study.results.test_compaction import assert_each_row_once, write
from tests.study.results.test_store import SETTING, records
from tests.study.test_status import call
from tests.support import chaos
from trainables.request import Request
from trainables.usage import UsageError


@pytest.fixture
def store(bucket, request):
    return Store(bucket.uri.replace("prefix", request.node.name), "mine")


def test_records_come_back_and_bad_ones_are_set_aside(store, capsys):
    store.check_access()
    assert store.finished_runs() == set()
    store.write_records(records())
    store.write_records(records(seeds=(2,)))
    every = {SETTING.run_id(seed) for seed in (0, 1, 2)}
    assert store.finished_runs() == every
    (name,) = [n for n in store.names("records", "") if "seeds-2" in n]
    content = store.read(f"records/{name}")
    store.put(f"records/{name}", content[: len(content) // 2])
    assert store.finished_runs(repair=True) == every - {SETTING.run_id(2)}
    aside = store.location(f"damaged/{name}")
    assert f"Damaged file moved to {aside}; " in capsys.readouterr().out
    assert store.read(f"damaged/{name}")
    assert store.count_damaged_files() == 1
    store.save_state("f00d-seeds-1", b"one")
    assert store.load_state("f00d-seeds-1") == b"one"
    assert store.interrupted_stacks() == [("f00d", (1,))]
    store.drop_state("f00d-seeds-1")
    store.drop_state("f00d-seeds-1")
    assert store.load_state("f00d-seeds-1") is None


def test_its_files_are_merged(store):
    write(store)
    assert compact(store) == (3, 1)
    assert_each_row_once(store)


def test_while_it_fails_no_file_is_set_aside(store, bucket):
    store.write_records(records())
    bucket.down.set()
    try:
        with pytest.raises(OSError, match="AWS Error"):
            store.finished_runs(repair=True)
    finally:
        bucket.down.clear()
    assert store.finished_runs() == {SETTING.run_id(0), SETTING.run_id(1)}


def test_a_store_that_does_not_answer_is_given_up(monkeypatch, bucket):
    for module in ("files", "objects"):
        monkeypatch.setattr(f"study.results.{module}.ANSWER_SECONDS", 1)
        monkeypatch.setattr(f"study.results.{module}.ATTEMPTS", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"127.0.0.1:{server.getsockname()[1]}"
        silent = Store(bucket.uri.replace(bucket.endpoint, endpoint), "mine")
        for action in (
            lambda: silent.put("a", b"a"),
            lambda: silent.read("a"),
            lambda: silent.names("", ""),
        ):
            started = time.monotonic()
            with pytest.raises(OSError, match=r"timeout|Timeout|timed out"):
                action()
            assert time.monotonic() - started < 30


def test_a_bucket_that_is_not_there_is_refused(store):
    wrong = Store(store.results.replace("bucket", "nobucket"), "mine")
    with pytest.raises(UsageError, match="bucket nobucket does not exist"):
        wrong.check_access()


def test_the_commands_find_it_by_uri_and_by_environment(store, bucket):
    store.write_records(records())
    assert [s.location() for s in find_stores(store.results)] == [store.location()]
    assert find_stores(store.location()) == [store]
    code, said = call(status, StatusOptions(store.results, check=True))
    assert code == 0
    assert ": 2 finished runs, 0 checkpoints, no file is bad" in said[-1]
    place = {
        "AWS_ENDPOINT_URL": f"http://{bucket.endpoint}",
        "AWS_REGION": "us-east-1",
    }
    plain = store.results.partition("?")[0]
    done = subprocess.run(
        [sys.executable, "-m", "study.status", plain, "--check"],
        capture_output=True,
        text=True,
        env=os.environ | place,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ": 2 finished runs, 0 checkpoints, no file is bad" in done.stdout
    assert chaos.SECRET not in done.stdout


def test_a_report_is_made_of_what_lies_there(store, monkeypatch):
    from analysis.records.request import read_requests
    from analysis.report import build
    from analysis.report.report import make_reports

    few = {name: build.PARTS[name] for name in ("about", "table", "lost")}
    monkeypatch.setattr(build, "PARTS", few)
    store.write_records(records())
    request = Request(study="mine")
    request = request.with_settings({SETTING.setting_id: SETTING.row()}, range(4))
    store.save_request(request)
    (seeds,) = read_requests(store.results)["mine"].seeds.values()
    assert seeds == {0, 1, 2, 3}
    for place in (store.results, store.location()):
        (report,) = make_reports(place)
        # two runs have records without measurements, and two runs have no records
        assert (report.complete, report.expected) == (0, 4)
        assert not any(part.failed for part in report.parts)
