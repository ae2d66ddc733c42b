"""Claims without a file lock: never two writers, and no line is ever lost.

The tests claim studies in moto's S3, in a folder without locks (such as an sshfs mount
on two machines), and in a store without conditional writes. The long tests also use two
sshfs mounts of one folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest

from study.results import claim as claims
from study.results.claim import ClaimLostError, ConflictError, Entry, claim, is_claimed
from study.results.exclusion import (
    ENTRY,
    FolderExclusion,
    exclusion_of,
    locks_are_shared,
)
from study.results.process import _machine, _state_and_start
from study.results.store import Store
from study.searching.journal import CLAIM, journal_parts, open_search
from study.spec.search import Search
from tests.study.results.test_store import REQUEST
from tests.study.searching.test_proposals import SPACE
from tests.support import chaos
from tests.support.mounts import Mounts, lacking
from trainables.request import REQUEST_FILE
from trainables.usage import UsageError

EXACT = ["s3", "folder"]
PLACES = [*EXACT, "mock"]


@pytest.fixture
def no_locks(monkeypatch):
    """Let folders have no file locks, as an sshfs mount has none."""
    monkeypatch.setattr(claims, "_lock", lambda files: None)


@pytest.fixture
def store(request, bucket, tmp_path):
    name = re.sub(r"\W+", "-", request.node.name)
    places = {
        "s3": bucket.uri.replace("prefix", name),
        "folder": str(tmp_path / "results"),
        "mock": f"mock:///{name}",
        "mounts": str(tmp_path / FIRST),
    }
    with contextlib.ExitStack() as stack:
        if request.param == "mounts":
            if lacking():
                pytest.skip(lacking())
            folders = [tmp_path / name for name in (FIRST, SECOND)]
            stack.callback(Mounts(tmp_path / "origin", folders).close)
        else:
            request.getfixturevalue("no_locks")
        store = Store(places[request.param], "mine")
        if request.param in ("folder", "mounts"):
            store.folder.mkdir(parents=True)
        if request.param == "mock":  # unlike a real object store, it has folders
            store.root()[0].create_dir(f"{name}/mine")
        yield store
    bucket.delay = 0.0


FIRST, SECOND = "first-mount", "second-mount"


def place(store):
    """Return the kind of a store as text."""
    kind = "two mounts" if FIRST in store.results else "a folder"
    return kind if store.local else store.results[:5]


def elsewhere(store):
    """Return the same store in the second mount, if it has two mounts."""
    return Store(store.results.replace(FIRST, SECOND), store.study)


@pytest.fixture
def lines(monkeypatch):
    """The lines that processes print when they lose their claim; they do not end."""
    lines = []
    monkeypatch.setattr(claims, "end_process", lines.append)
    return lines


every_place = pytest.mark.parametrize("store", PLACES, indirect=True)
exact_places = pytest.mark.parametrize("store", EXACT, indirect=True)
exact_places_and_mounts = pytest.mark.parametrize(
    "store", [*EXACT, "mounts"], indirect=True
)


@contextlib.contextmanager
def waiting_for(held, skew=0.0):
    """Let the holder renew its claim once whenever the waiting process sleeps.

    So no test depends on the speed of this machine. The clock of the process that waits
    differs by `skew` seconds from the holder's clock.
    """
    clock = SimpleNamespace(
        sleep=lambda seconds: held.claim.renew(),
        monotonic=time.monotonic,
        time=lambda: time.time() + skew,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "time", clock)
        yield


@every_place
def test_the_second_is_refused_as_soon_as_the_first_shows_itself(store, capsys):
    with claim(store) as held:
        assert held.claim
        assert is_claimed(store)
        refused = pytest.raises(UsageError, match="another sweep is running")
        with waiting_for(held), refused, claim(store):
            raise AssertionError("two at once")
        (line,) = capsys.readouterr().out.splitlines()
        assert line == (
            f"A sweep was running on {store.location()}: waiting up to 90 s to see "
            "whether it is still running."
        )
    assert not is_claimed(store)
    with claim(store):  # the claim was released: no wait
        assert capsys.readouterr().out == ""
    assert store.names("", "") == []


@exact_places
@pytest.mark.parametrize("skew", [-120.0, 120.0])
def test_a_wrong_clock_takes_no_claim(store, skew):
    refused = pytest.raises(UsageError, match="another sweep is running")
    with claim(store) as held, waiting_for(held, skew), refused, claim(store):
        raise AssertionError("two at once")


@exact_places
@pytest.mark.parametrize("content", [b"", b"[]", b'{"owner": 1}', b"\xff", None])
def test_a_dead_claim_is_waited_out_by_the_own_clock(store, content):
    path = f"{ENTRY}.1" if store.local else ENTRY
    dead = Entry("dead", 1, time=time.time() - 1e6).to_bytes()
    store.put(path, dead if content is None else content)
    started = time.monotonic()
    with claim(store, stale=0.3) as held:
        assert time.monotonic() - started >= 0.3
        assert held.claim.stamp.startswith("2-" if content is None else "1-")


@exact_places
def test_the_claim_of_a_dead_process_is_taken_at_once(store, capsys):
    with subprocess.Popen(["true"]) as process:
        start = _state_and_start(process.pid)[1]
    name = f"{_machine()}-{process.pid}-{start}"
    entry = Entry("dead", 1, time=time.time(), process=name)
    store.put(f"{ENTRY}.1" if store.local else ENTRY, entry.to_bytes())
    assert not is_claimed(store)
    with claim(store, stale=600) as held:
        assert held.claim.stamp.startswith("2-")
        assert is_claimed(store)
    assert capsys.readouterr().out == ""


@exact_places
def test_numbers_grow_from_claim_to_claim(store):
    stamps = []
    for _ in range(3):
        with claim(store) as held:
            stamps.append(held.claim.stamp)
    assert [stamp.partition("-")[0] for stamp in stamps] == ["1", "2", "3"]
    if store.local:
        assert [p.name for p in store.folder.iterdir()] == [f"{ENTRY}.6"]


def test_an_entry_names_nobody(store_in_folder):
    with claim(store_in_folder):
        (path,) = store_in_folder.folder.glob(f"{ENTRY}.*")
        assert os.uname().nodename not in path.read_text()


@pytest.fixture
def store_in_folder(tmp_path, no_locks):
    store = Store(str(tmp_path), "mine")
    store.folder.mkdir()
    return store


@pytest.mark.parametrize("size", [1_000_000, 1])  # the journal has one file, or many
@exact_places
def test_a_holder_that_was_stopped_overwrites_nothing(store, lines, size, monkeypatch):
    monkeypatch.setattr("study.searching.journal.PART_BYTES", size)
    search = Search("mine", SPACE, (0,))
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(claim(store, stale=60))
        request = first.load_request()
        first.save_request(attrs.evolve(REQUEST, claim=request.claim))
        journal, study = open_search(first, search)
        # the second process has waited long enough, and loads what the first has saved
        second = stack.enter_context(claim(store, stale=0.2))
        loaded = second.load_request()
        assert loaded.settings == REQUEST.settings
        assert loaded.claim == second.claim.stamp != first.claim.stamp
        _, new_study = open_search(second, search)
        assert new_study.user_attrs[CLAIM] == second.claim.stamp
        paths = [REQUEST_FILE, *journal_parts(store)]
        assert len(paths) == (2 if size > 1 else 4)
        before = {path: store.read(path) for path in paths}
        # now the first process continues
        study.ask()
        for write in (journal.flush, lambda: first.save_request(request)):
            with pytest.raises(ClaimLostError):
                write()
        assert [REQUEST_FILE, *journal_parts(store)] == paths
        for path, content in before.items():
            assert store.read(path) == content
        with pytest.raises(ClaimLostError):
            first.set_aside(REQUEST_FILE)
    assert lines[0].startswith(
        f"Stopped: another sweep has taken over {store.location()}"
    )
    assert "\n" not in lines[0]


@exact_places
def test_the_first_releases_nothing_of_the_second(store, lines):
    first = claim(store)
    first.__enter__()
    with claim(store, stale=0.2) as second:
        first.__exit__(None, None, None)
        assert is_claimed(store)
        refused = pytest.raises(UsageError, match="another sweep is running")
        with waiting_for(second), refused, claim(store):
            raise AssertionError("two at once")


@exact_places
def test_an_earlier_holder_that_writes_during_the_takeover_is_read_again(store, lines):
    """The first process writes after the second has read and before it has written."""
    with claim(store, stale=60) as first:
        request = first.load_request()
        with claim(store, stale=0.2) as second:
            read = second.claim.read

            def read_late(path):
                content = read(path)
                if store.local:  # here the first cannot write any more
                    with pytest.raises(ClaimLostError):
                        first.save(REQUEST_FILE, REQUEST.to_bytes())
                elif not first.claim.lost:
                    first.save(REQUEST_FILE, REQUEST.to_bytes())
                    first.claim.lost = True
                return content

            second.claim.read = read_late
            loaded = second.load_request()
            assert loaded.settings == ({} if store.local else REQUEST.settings)
            second.save(REQUEST_FILE, loaded.to_bytes())
        assert request.claim


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_an_answer_that_never_came_is_no_conflict(store, monkeypatch):
    """The store has written the file, but its answer never comes."""
    with claim(store, stale=60) as held:
        replace = type(held.claim._exclusion).replace

        def silent(self, path, content, tag):
            replace(self, path, content, tag)
            raise OSError("no answer")

        held.load_request()
        for change in ("one", "two"):
            with monkeypatch.context() as patch:
                patch.setattr(type(held.claim._exclusion), "replace", silent)
                with pytest.raises(OSError, match="no answer"):
                    held.save(REQUEST_FILE, change.encode())
        held.save(REQUEST_FILE, b"three")
        assert store.read(REQUEST_FILE) == b"three"
        store.put(REQUEST_FILE, b"by hand")
        with pytest.raises(ConflictError, match="another program has changed it"):
            held.save(REQUEST_FILE, b"four")


def test_a_file_number_that_was_deleted_is_not_taken_again(tmp_path):
    """A process reads an entry, and two others replace it before the process writes."""
    one = FolderExclusion(tmp_path)
    assert one.swap(b"1", None) == "1"
    assert one.swap(b"2", "1") == "2"
    assert one.swap(b"3", "2") == "3"
    for tag in (None, "1", "2"):
        assert FolderExclusion(tmp_path).swap(b"late", tag) is None
    assert one.load() == (b"3", "3")


def test_where_there_are_no_links_there_is_still_one_winner(tmp_path, monkeypatch):
    def refuse(*paths):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    one = FolderExclusion(tmp_path)
    assert one.swap(b"1", None) == "1"
    assert one.swap(b"2", None) is None
    assert one.load() == (b"1", "1")


@pytest.mark.skipif(bool(lacking()), reason=lacking())
def test_a_file_that_the_other_mount_has_replaced_is_read_whole(tmp_path):
    folders = [tmp_path / FIRST, tmp_path / SECOND]
    with contextlib.closing(Mounts(tmp_path / "origin", folders)):
        one, other = map(FolderExclusion, folders)
        other.begin(1)
        other.replace("lines", b"1\n", None)
        assert len(list(one.folder.glob("lines"))) == 1  # sshfs now keeps its size
        assert one.read("lines")[0] == b"1\n"
        other.replace("lines", b"1\n2\n3\n", None)
        time.sleep(1.5)  # as long as the kernel and not only sshfs keeps the size
        assert one.read("lines")[0] == b"1\n2\n3\n"
        other.end()
        assert [path.name for path in folders[1].iterdir()] == ["lines"]


def add_line(held, line, pause):
    while True:
        content = b""
        with contextlib.suppress(FileNotFoundError):
            content = held.load("lines")
        time.sleep(pause)
        # an earlier holder can write once more before the next holder's first write
        with contextlib.suppress(ConflictError):
            held.save("lines", content + line + b"\n")
            return


def race(store, rounds, processes, pause):
    """Let threads claim the results again and again; return the lines they have added.

    A thread with the claim reads a file, waits, and writes the file with one more line.
    So if two threads had the claim at once, a line of one of them would be lost.
    """
    written, inside = [], []

    def add_lines(name):
        here = elsewhere(store) if name % 2 else store
        own = random.Random(f"{chaos.SEED} {name}")
        for i in range(rounds):
            time.sleep(own.uniform(0, pause))
            with (
                contextlib.suppress(UsageError, ClaimLostError),
                claim(here, stale=20 * pause) as held,
            ):
                for j in range(3):
                    line = f"{name} {i} {j}".encode()
                    add_line(held, line, own.uniform(0, pause))
                    written.append(line)
                inside.append(name)

    threads = [threading.Thread(target=add_lines, args=[n]) for n in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return written, len(inside)


def slow_links(monkeypatch, delay):
    """Make the entry of a folder slow, like that of a store behind a network."""
    swap = FolderExclusion.swap

    def slow(self, content, tag):
        time.sleep(random.uniform(0, delay))
        new = swap(self, content, tag)
        time.sleep(random.uniform(0, delay))
        return new

    monkeypatch.setattr(FolderExclusion, "swap", slow)


@exact_places
def test_races_lose_no_line(store, bucket, lines, monkeypatch):
    bucket.delay = 0.01
    slow_links(monkeypatch, 0.02)
    written, _ = race(store, rounds=3, processes=4, pause=0.02)
    assert written
    assert sorted(store.read("lines").splitlines()) == sorted(written)


@pytest.mark.chaos
@pytest.mark.parametrize(("races", "delay"), [(200, 0.0), (40, 2.0)])
@exact_places_and_mounts
def test_many_races_lose_no_line(
    store, bucket, lines, monkeypatch, capsys, races, delay
):
    """A put takes up to `delay` seconds to the store, and so does its answer back."""
    bucket.delay = delay / 2
    slow_links(monkeypatch, delay)

    def one_race(number):
        own = Store(store.results, f"mine-{number}")
        if own.local:
            own.folder.mkdir()
        written, inside = race(own, rounds=1, processes=2, pause=max(delay / 2, 0.02))
        assert written
        # a mount possibly shows an old file: see `FolderExclusion.read`
        content, _ = exclusion_of(own).read("lines")
        assert sorted(content.splitlines()) == sorted(written)
        return inside, len(written)

    with ThreadPoolExecutor(10 if delay else 1) as pool:
        won, count = map(sum, zip(*pool.map(one_race, range(races)), strict=True))
    with capsys.disabled():
        print(
            f"\n{races} races on {place(store)}, puts delayed by 0 to "
            f"{2 * delay:g} s: {won} claims, {count} lines written, 0 lost, "
            f"seed {chaos.SEED}"
        )


HOLD = """
import itertools, sys, time
from study.results import claim as claims
from study.results.files import Files
claims._lock = lambda files: None
skew = float(sys.argv[2])
now = time.time
time.time = lambda: now() + skew
with claims.claim(Files(sys.argv[1], "mine"), stale=1.0) as held:
    held.save("lines", b"")
    for i in itertools.count():
        held.save("lines", held.load("lines") + b"child %d\\n" % i)
        print(i, flush=True)
        time.sleep(0.01)
"""


def take_over(stack, store):
    """Claim a store whose holder was stopped, possibly during a renewal."""
    with contextlib.suppress(UsageError):
        return stack.enter_context(claim(store, stale=1.0))
    return stack.enter_context(claim(store, stale=1.0))


def stop_and_continue(store, skew):
    """Stop a holder for longer than any limit, take over, and let it continue."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, elsewhere(store).results, str(skew)],
        stdout=subprocess.PIPE,
        text=True,
        env=chaos.environment(),
    )
    try:
        # on a busy machine, the holder also prints that the store is slow
        printed = (line for line in process.stdout if line.strip().isdecimal())
        acknowledged = [int(next(printed)) for _ in range(3)]
        process.send_signal(signal.SIGSTOP)
        with contextlib.ExitStack() as stack:
            held = take_over(stack, store)
            content = held.load("lines")
            held.save("lines", content + b"parent\n")
            process.send_signal(signal.SIGCONT)
            out, _ = process.communicate(timeout=120)
            mine = held.load("lines")
            held.claim.check()
        *numbers, line = out.splitlines()
        acknowledged += map(int, filter(str.isdecimal, numbers))
        assert process.returncode == 1
        assert line.startswith("Stopped: another sweep has taken over")
        for number in acknowledged:
            assert b"child %d\n" % number in mine
        assert mine.endswith(b"parent\n")
        assert store.read("lines") == mine
    finally:
        process.kill()
        process.communicate()


@exact_places
def test_a_process_that_is_stopped_and_continued_ends(store):
    stop_and_continue(store, skew=120.0)


@pytest.mark.chaos
@exact_places_and_mounts
def test_many_processes_that_are_stopped_and_continued(store, capsys):
    for i in range(10):
        stop_and_continue(store, skew=120.0 * (-1) ** i)
        store.delete("lines")
    with capsys.disabled():
        print(f"\n10 holders stopped, taken over and continued on {place(store)}")


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
40 22 0:50 / /home/lab rw,nosuid - fuse.sshfs host:/data rw,user_id=0
41 22 0:51 / /with\\040space rw - nfs4 host:/data rw,vers=4.2,local_lock=none
42 22 0:52 / /own rw - nfs host:/data rw,local_lock=all
43 40 0:53 / /home/lab/disk rw - xfs /dev/vdb rw
"""


@pytest.mark.parametrize(
    ("folder", "shared"),
    [
        ("/", True),
        ("/home/laboratory", True),
        ("/home/lab", False),
        ("/home/lab/results/mine", False),
        ("/home/lab/disk/results", True),
        ("/with space/results", True),
        ("/own/results", False),
    ],
)
def test_a_file_system_says_whether_others_see_its_locks(tmp_path, folder, shared):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert locks_are_shared(Path(folder), str(mounts)) is shared
    assert locks_are_shared(Path(folder), str(tmp_path / "nothing"))


def test_a_folder_whose_locks_are_local_has_a_claim_too(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "locks_are_shared", lambda folder: False)
    store = Store(str(tmp_path), "mine")
    with claim(store) as held:
        assert held.claim
        with pytest.raises(UsageError, match="another sweep"):  # at once, by the lock
            claim(store).__enter__()


def test_other_processes_get_no_claim(store_in_folder):
    with claim(store_in_folder) as held:
        assert pickle.loads(pickle.dumps(held)) == held
        assert pickle.loads(pickle.dumps(held)).claim is None


def test_the_claim_is_in_the_files_that_it_guards(store_in_folder):
    with claim(store_in_folder) as held:
        held.load_request()
        written = json.loads(store_in_folder.read(REQUEST_FILE))
        assert written["claim"] == held.claim.stamp
