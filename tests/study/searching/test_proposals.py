"""A search goes on after any kill: real trials, no Ray, a kill between two steps."""

from __future__ import annotations

import shutil
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from study.results.store import Store
from study.searching.journal import SETTING, journal_parts, load_search, open_search
from study.searching.proposals import FIRST_RUNG, Proposals
from study.spec.domain import choice, log
from study.spec.objectives import objective_values
from study.spec.search import JOURNAL, Search
from study.spec.space import Space
from study.status import StatusOptions, status
from trainables.request import Request
from trainables.run import ContinualRun
from trainables.setting import RunOptions
from trainables.usage import UsageError

SPACE = Space(
    problem="permuted",
    dataset="mnist-5k",
    tasks=2,
    batch_size=16,
    hidden="3",
    optimizer=choice("sgd", "sam"),
    lr=log(1e-3, 0.3),
    rho=log(1e-3, 2).when(optimizer="sam"),
)
BOTH = ("mean_accuracy", "plasticity_loss")


def searching(trials=6, objectives=BOTH, space=SPACE, **more):
    return Search("mine", space, (0, 1), trials, objectives, **more)


def begin(results, search):
    """Begin a session of a search, as after any end of the one before."""
    store = Store(str(results), "mine")
    proposals = Proposals(search, store, store.finished_runs(repair=True), patience=0.0)
    return store, proposals


def run(store, trial, few):
    """Run a trial, for real."""
    options = RunOptions(landscape_every=0)
    one = ContinualRun(trial.setting, trial.seeds, few, options=options)
    who = {"study": "mine", "trial_id": "t"}
    rows = [who | row for _ in range(trial.setting.tasks) for row in one.next_task()]
    store.write_records(rows)
    return rows


def trials_of(store):
    """Return what Optuna knows, in order."""
    study = load_search(store)
    return [(t.number, t.state.name, t.params, t.values) for t in study.get_trials()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, few):
    """The trials of a search that nobody stopped, one at a time."""
    store, proposals = begin(tmp_path_factory.mktemp("undisturbed"), searching())
    while trial := proposals.next():
        run(store, trial, few)
        proposals.complete(trial)
    assert (proposals.left, proposals.ended) == (0, 6)
    return trials_of(store)


def test_a_search_has_as_many_trials_as_asked_for(undisturbed):
    assert [number for number, *_ in undisturbed] == list(range(6))
    assert {state for _, state, _, _ in undisturbed} == {"COMPLETE"}
    assert len({str(params) for _, _, params, _ in undisturbed}) == 6
    for _, _, params, _ in undisturbed:
        assert ("rho" in params) == (params["optimizer"] == "sam")


@pytest.mark.parametrize("when", ["proposed", "written", "told"])
def test_a_search_killed_at_every_step_has_the_trials_of_one_that_was_not(
    tmp_path, few, undisturbed, when
):
    store, proposals = begin(tmp_path, searching())
    for _ in range(20):
        trial = proposals.next()
        if trial is None:
            break
        if when == "proposed":
            store, proposals = begin(tmp_path, searching())
            again = proposals.next()
            assert again == trial
        run(store, trial, few)
        if when != "written":
            proposals.complete(trial)
        store, proposals = begin(tmp_path, searching())
    assert trials_of(store) == undisturbed
    assert proposals.left == 0


def test_two_under_way_are_both_run_again_and_the_total_is_the_same(tmp_path, few):
    store, proposals = begin(tmp_path, searching(5))
    first = [proposals.next() for _ in range(3)]
    run(store, first[1], few)
    proposals.complete(first[1])
    before = trials_of(store)
    store, proposals = begin(tmp_path, searching(5))
    assert trials_of(store) == before
    assert [proposals.next(), proposals.next()] == [first[0], first[2]]
    new = [proposals.next(), proposals.next()]
    assert proposals.next() is None
    for trial in (first[2], *new, first[0]):
        run(store, trial, few)
        proposals.complete(trial)
    after = trials_of(store)
    assert [number for number, *_ in after] == list(range(5))
    assert {state for _, state, _, _ in after} == {"COMPLETE"}
    assert [t[2] for t in after[:3]] == [t[2] for t in before]
    assert after[1] == before[1]


def test_more_trials_go_on_with_new_random_numbers(tmp_path, few, undisturbed):
    store, proposals = begin(tmp_path, searching(3))
    while trial := proposals.next():
        run(store, trial, few)
        proposals.complete(trial)
    store, proposals = begin(tmp_path, searching(6))
    while trial := proposals.next():
        run(store, trial, few)
        proposals.complete(trial)
    assert trials_of(store) == undisturbed


def test_what_optuna_is_told_is_what_the_records_say(tmp_path, few):
    store, proposals = begin(tmp_path, searching(1))
    trial = proposals.next()
    rows = run(store, trial, few)
    proposals.complete(trial)
    ((_, _, params, values),) = trials_of(store)
    assert tuple(values) == objective_values(BOTH, trial.setting, rows)
    assert params["lr"] == trial.setting.optimizer.lr


def test_records_that_are_lost_are_made_again_and_nothing_is_told_twice(tmp_path, few):
    store, proposals = begin(tmp_path, searching(2))
    done = [proposals.next(), proposals.next()]
    for trial in done:
        run(store, trial, few)
        proposals.complete(trial)
    before = trials_of(store)
    path = Path(store.location(), "records", f"{done[0].name}.parquet")
    path.write_bytes(b"PAR1")
    store, proposals = begin(tmp_path, searching(2))
    assert (proposals.left, proposals.ended_stacks()) == (1, {done[1].name})
    assert proposals.next() == done[0]
    assert proposals.next() is None
    run(store, done[0], few)
    proposals.complete(done[0])
    assert trials_of(store) == before
    assert proposals.left == 0


def test_what_is_proposed_twice_is_run_once(tmp_path, few):
    space = Space(dataset="mnist-5k", tasks=2, hidden="3", lr=choice(0.1, 0.01))
    store, proposals = begin(tmp_path, searching(8, ("mean_accuracy",), space))
    under_way, ran = [proposals.next(), proposals.next()], []
    assert under_way[0] != under_way[1]
    assert proposals.next() is None  # all others are one of these two
    for trial in under_way:
        run(store, trial, few)
        proposals.complete(trial)
        ran.append(trial)
    found = trials_of(store)
    assert len(found) == 8
    assert {state for _, state, _, _ in found} == {"COMPLETE"}
    assert len({(p["lr"], v[0]) for _, _, p, v in found}) == 2


def test_another_search_in_the_same_place_is_refused(tmp_path):
    begin(tmp_path, searching())
    other = SPACE.fix(lr=log(1e-3, 0.2))
    for wrong, what in (
        (searching(space=other), "space"),
        (searching(objectives=BOTH[:1]), "objectives"),
        (searching(random_seed=1), "random_seed"),
    ):
        with pytest.raises(UsageError, match=f"a search with other {what}: use"):
            begin(tmp_path, wrong)
    begin(tmp_path, searching(trials=9))


def test_the_journal_is_optunas_own_and_appears_whole(tmp_path, few, undisturbed):
    store, proposals = begin(tmp_path, searching())
    trial = proposals.next()
    path = Path(store.location(), JOURNAL)
    shutil.copy(path, tmp_path / "copy")
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "copy")))
    study = optuna.load_study(study_name="mine", storage=storage)
    (one,) = study.get_trials()
    assert one.params == undisturbed[0][2]
    assert one.user_attrs[SETTING]["lr"] == trial.setting.optimizer.lr
    # what was not flushed is not there, and does no harm
    journal, mine = open_search(store, searching())
    before = path.read_bytes()
    mine.ask()
    assert path.read_bytes() == before
    journal.flush()
    assert path.read_bytes().startswith(before)


def test_a_full_file_of_the_journal_gets_no_more_lines(tmp_path, monkeypatch):
    monkeypatch.setattr("study.searching.journal.PART_BYTES", 1000)
    for trials in (4, 20):  # two sessions
        store, proposals = begin(tmp_path, searching(trials))
        while proposals.next():
            pass
    parts = journal_parts(store)
    assert len(parts) > 10  # .10 comes after .9
    assert parts[:2] == [JOURNAL, f"{JOURNAL}.1"]
    sizes = [len(store.read(name)) for name in parts]
    assert all(1000 <= size < 4000 for size in sizes[:-1])
    (tmp_path / "copy").write_bytes(b"".join(map(store.read, parts)))
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "copy")))
    study = optuna.load_study(study_name="mine", storage=storage)
    assert study.get_trials() == load_search(store).get_trials()
    store.save_request(Request(study="mine"))
    store.delete(JOURNAL)
    with pytest.raises(UsageError, match="--fix to move the journal"):
        begin(tmp_path, searching())
    assert status(StatusOptions(str(tmp_path), fix=True)) == 1
    assert journal_parts(store) == []


@pytest.mark.parametrize("content", [b"{", b"\xff\n", b"[]\n", b'{"op_code": 3}\n'])
def test_a_damaged_journal_is_refused_in_one_line(tmp_path, content):
    store, _ = begin(tmp_path, searching())
    path = Path(store.location(), JOURNAL)
    path.write_bytes(path.read_bytes() + content)
    for read in (
        lambda: begin(tmp_path, searching()),
        lambda: load_search(store),
    ):
        with pytest.raises(UsageError, match="--fix to move the journal") as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cut", ["all", "one byte", "half"])
def test_a_journal_whose_end_is_missing_is_no_new_search(tmp_path, cut):
    store, _ = begin(tmp_path, searching())
    path = Path(store.location(), JOURNAL)
    content = path.read_bytes()
    left = {"all": 0, "one byte": len(content) - 1, "half": len(content) // 2}
    path.write_bytes(content[: left[cut]])
    with pytest.raises(UsageError, match="--fix to move the journal"):
        begin(tmp_path, searching())
    assert path.read_bytes() == content[: left[cut]]


def test_storage_that_cannot_be_written_ends_a_search_before_a_trial_begins(
    tmp_path, capsys
):
    store, proposals = begin(tmp_path, searching())
    path = Path(store.location(), JOURNAL)
    path.unlink()
    path.mkdir()  # nothing can be written there
    with pytest.raises(OSError, match="directory"):
        proposals.next()
    assert "retrying" not in capsys.readouterr().out  # a retry cannot fix a folder


def test_what_does_badly_is_stopped_and_stays_stopped(tmp_path, few):
    space = SPACE.fix(tasks=10)
    search = searching(4, ("mean_accuracy",), space, asha=True)
    store, proposals = begin(tmp_path, search)
    trials = [proposals.next() for _ in range(4)]
    assert not proposals.prune(trials[0], 2, 0.5)  # no rung
    verdicts = [
        proposals.prune(trial, FIRST_RUNG, value)
        for trial, value in zip(trials, (0.5, 0.4, 0.6, 0.3), strict=True)
    ]
    assert verdicts == [False, True, False, True]
    assert proposals.ended == 2
    assert proposals.ended_stacks() == {trials[1].name, trials[3].name}
    # the rungs survive a kill, and what was asked before is not asked again
    store, proposals = begin(tmp_path, search)
    assert [proposals.next(), proposals.next()] == [trials[0], trials[2]]
    assert not proposals.prune(trials[0], FIRST_RUNG, 0.0)
    assert not proposals.prune(trials[0], 9, 0.5)
    assert proposals.prune(trials[2], 9, 0.2)
    run(store, trials[0], few)
    proposals.complete(trials[0])
    states = [state for _, state, *_ in trials_of(store)]
    assert states == ["COMPLETE", "PRUNED", "PRUNED", "PRUNED"]
    assert proposals.left == 0
