"""What a search has found: the best, the front, and what it hung on."""

from __future__ import annotations

import pytest

from study.results.store import Store
from study.search_report import SearchReportOptions, search_report
from study.searching.journal import SETTING, open_search
from study.searching.report import draw_front, importance, print_report, write_front
from study.spec.domain import log, uniform
from study.spec.search import JOURNAL, Search
from study.spec.space import Space
from study.status import StatusOptions, status
from trainables.request import Request
from trainables.usage import UsageError

SPACE = Space(lr=log(1e-3, 1), momentum=uniform(0, 0.9))
BOTH = ("mean_accuracy", "plasticity_loss")


def found(results, worth, objectives, trials=80):
    """Return a search whose objectives are a function of the settings."""
    store = Store(str(results), "mine")
    search = Search("mine", SPACE, (0,), trials, objectives)
    journal, study = open_search(store, search)
    for setting in SPACE.random(trials):
        row = {k: value for k, value in setting.row().items() if value is not None}
        study.enqueue_trial({name: row[name] for name in SPACE.domains})
        trial = study.ask()
        SPACE.make_setting(lambda name, domain, t=trial: domain.suggest(t, name))
        trial.set_user_attr(SETTING, row)
        study.tell(trial, worth(row))
    journal.flush()
    return store, study


@pytest.fixture
def said(capsys):
    """Return what the report of a search prints."""

    def text(store, study):
        print_report(store.location(), study)
        return capsys.readouterr().out

    return text


def test_the_best_is_named_and_what_it_hung_on(tmp_path, said):
    store, study = found(tmp_path, lambda row: row["lr"], BOTH[:1])
    shares = importance(study)
    assert shares["lr"] > 0.9
    assert sum(shares.values()) == pytest.approx(1)
    text = said(store, study)
    best = max(study.trials, key=lambda trial: trial.value)
    (first,) = [n for n in text.splitlines() if n.split()[:1] == [str(best.number)]]
    assert f"{best.value:.4f}" in first
    order = [n.split()[0] for n in text.splitlines() if n.split()[0] in shares]
    assert order == ["lr", "momentum"]
    assert "the best tenth (8 of 80 trials)" in text
    assert "Pareto" not in text


def test_what_makes_trials_bad_is_not_what_makes_them_good(tmp_path):
    def worth(row):
        return -1.0 if row["momentum"] < 0.09 else row["lr"]

    _, study = found(tmp_path / "large", worth, BOTH[:1], trials=200)
    assert importance(study)["lr"] > 0.9
    _, study = found(tmp_path / "small", worth, BOTH[1:], trials=200)
    assert importance(study)["momentum"] > 0.9


def test_small_is_good_where_an_objective_is_to_be_small(tmp_path):
    _, study = found(
        tmp_path, lambda row: [row["lr"], row["momentum"]], BOTH, trials=100
    )
    assert importance(study, 0)["lr"] > 0.9
    assert importance(study, 1)["momentum"] > 0.9
    # the definition: no other trial is as good in both
    front = {trial.number for trial in study.best_trials}
    for trial in study.trials:
        better = [
            other.number
            for other in study.trials
            if other.values[0] >= trial.values[0] and other.values[1] <= trial.values[1]
        ]
        assert (trial.number in front) == (better == [trial.number])


def test_a_front_is_listed_and_drawn_the_same_each_time(tmp_path, said):
    store, study = found(
        tmp_path, lambda row: [row["lr"], row["lr"] - row["momentum"]], BOTH, trials=30
    )
    front = {trial.number for trial in study.best_trials}
    assert 1 < len(front) < 30
    lines = said(store, study).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Pareto front"))
    listed = [int(line.split()[0]) for line in lines[start + 2 :][: len(front)]]
    assert sorted(listed) == sorted(front)
    assert draw_front(study, "svg") == draw_front(study, "svg")
    for suffix, magic in ((".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF")):
        write_front(study, str(tmp_path / f"front{suffix}"))
        assert (tmp_path / f"front{suffix}").read_bytes().startswith(magic)


def test_the_command_needs_a_search_and_two_objectives_for_a_front(tmp_path, capsys):
    store, study = found(tmp_path, lambda row: row["lr"], BOTH[:1], trials=3)
    search_report(SearchReportOptions(str(tmp_path)))
    assert "3 trials finished" in capsys.readouterr().out
    with pytest.raises(UsageError, match="a Pareto front needs two objectives, but"):
        search_report(
            SearchReportOptions(store.location(), output=str(tmp_path / "x.png"))
        )
    with pytest.raises(UsageError, match="its suffix must be one of"):
        write_front(study, "front.gif")
    with pytest.raises(UsageError, match="no study in"):
        search_report(SearchReportOptions(str(tmp_path / "none")))
    other = Store(str(tmp_path / "other"), "grid")
    other.save_failures({"a": "b"})
    other.put("study.json", b"{}")
    with pytest.raises(UsageError, match="no search in"):
        search_report(SearchReportOptions(str(tmp_path / "other")))


def test_a_search_that_found_nothing_yet_says_so(tmp_path, said):
    store = Store(str(tmp_path), "mine")
    journal, study = open_search(store, Search("mine", SPACE, (0,)))
    journal.flush()
    assert (
        said(store, study)
        .strip()
        .endswith("0 trials finished, 0 stopped early, 0 started but not ended")
    )
    assert importance(study) == {}
    with pytest.raises(UsageError, match="needs two objectives"):
        draw_front(study, "svg")


def test_a_damaged_journal_is_found_and_set_aside(tmp_path, capsys):
    store, _ = found(tmp_path, lambda row: row["lr"], BOTH[:1], trials=2)
    store.save_request(Request(study="mine"))
    path = store.folder / JOURNAL
    assert status(StatusOptions(str(tmp_path), check=True)) == 0
    path.write_bytes(path.read_bytes()[:-9])
    assert status(StatusOptions(str(tmp_path), check=True)) == 1
    assert path.exists()
    assert status(StatusOptions(str(tmp_path), fix=True)) == 1
    reason = f"ValueError: {JOURNAL} is empty or its end is missing"
    assert f"bad: {path}: Optuna's journal cannot be read as a whole: {reason}" in (
        capsys.readouterr().out
    )
    assert not path.exists()
    assert status(StatusOptions(str(tmp_path), check=True)) == 0
