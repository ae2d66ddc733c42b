"""What a search has found: the best, the front, and what it hung on."""

from __future__ import annotations

import contextlib
import io

import pytest
from rich.console import Console

from study.doctor import Options as DoctorOptions
from study.doctor import doctor
from study.results.definition import Definition, keep
from study.results.store import Store
from study.search_report import Options, importance, print_report, search_report
from study.searching.journal import open_search
from study.searching.pareto import draw_to_file, front_data, picture
from study.searching.proposals import SETTING, known
from study.spec.domain import log, uniform
from study.spec.search import JOURNAL, Search
from study.spec.space import Space
from trainables.usage import UsageError

SPACE = Space(lr=log(1e-3, 1), momentum=uniform(0, 0.9))
BOTH = ("mean_accuracy", "plasticity_loss")


def found(results, worth, objectives, trials=80):
    """Return a search whose objectives are a function of the settings."""
    store = Store(str(results), "mine")
    search = Search("mine", SPACE, (0,), trials, objectives)
    journal, study = open_search(store, search)
    for setting in SPACE.random(trials):
        row = known(setting)
        study.enqueue_trial({name: row[name] for name in SPACE.domains})
        trial = study.ask()
        SPACE.settle(lambda name, domain, t=trial: domain.suggest(t, name))
        trial.set_user_attr(SETTING, row)
        study.tell(trial, worth(row))
    journal.flush()
    return store, study


def said(store):
    console = Console(file=io.StringIO(), width=140)
    print_report(store, console)
    return console.file.getvalue()


def test_the_best_is_named_and_what_it_hung_on(tmp_path):
    store, study = found(tmp_path, lambda row: row["lr"], BOTH[:1])
    shares = importance(study)
    assert shares["lr"] > 0.9
    assert sum(shares.values()) == pytest.approx(1)
    text = said(store)
    best = max(study.trials, key=lambda trial: trial.value)
    (first,) = [n for n in text.splitlines() if n.split()[:1] == [str(best.number)]]
    assert f"{best.value:.4f}" in first
    order = [n.split()[0] for n in text.splitlines() if n.split()[0] in shares]
    assert order == ["lr", "momentum"]
    assert "the best tenth (8 of 80)" in text
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
    data = front_data(study).set_index("trial")
    # the definition: none is as good in both and better in one
    for number, row in data.iterrows():
        better = data[(data[BOTH[0]] >= row[BOTH[0]]) & (data[BOTH[1]] <= row[BOTH[1]])]
        assert row["front"] == (list(better.index) == [number])


def test_a_front_is_listed_and_drawn_the_same_each_time(tmp_path):
    store, study = found(
        tmp_path, lambda row: [row["lr"], row["lr"] - row["momentum"]], BOTH, trials=30
    )
    data = front_data(study)
    assert 1 < data["front"].sum() < len(data) == 30
    lines = said(store).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Pareto front"))
    listed = [
        int(line.split()[0]) for line in lines[start + 2 :][: data["front"].sum()]
    ]
    assert sorted(listed) == sorted(data[data["front"]]["trial"])
    assert picture(study, "svg") == picture(study, "svg")
    for suffix, magic in ((".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF")):
        draw_to_file(study, str(tmp_path / f"front{suffix}"))
        assert (tmp_path / f"front{suffix}").read_bytes().startswith(magic)


def test_the_command_needs_a_search_and_two_objectives_for_a_front(tmp_path, capsys):
    store, study = found(tmp_path, lambda row: row["lr"], BOTH[:1], trials=3)
    search_report(Options(str(tmp_path)))
    assert "3 trials ended" in capsys.readouterr().out
    with pytest.raises(UsageError, match="a front has two objectives, this search has"):
        search_report(Options(store.location(), output=str(tmp_path / "x.png")))
    with pytest.raises(UsageError, match="give it a suffix among"):
        draw_to_file(study, "front.gif")
    with pytest.raises(UsageError, match="no study in"):
        search_report(Options(str(tmp_path / "none")))
    other = Store(str(tmp_path / "other"), "grid")
    other.keep_failed({"a": "b"})
    other.files.put("study.json", b"{}")
    with pytest.raises(UsageError, match="no search in"):
        search_report(Options(str(tmp_path / "other")))


def test_a_search_that_found_nothing_yet_says_so(tmp_path):
    store = Store(str(tmp_path), "mine")
    journal, study = open_search(store, Search("mine", SPACE, (0,)))
    journal.flush()
    assert said(store).strip().endswith("0 trials ended, 0 stopped early, 0 under way")
    assert importance(study) == {}
    with pytest.raises(UsageError, match="has two objectives"):
        picture(study, "svg")


def test_the_doctor_sets_a_damaged_journal_aside(tmp_path):
    store, _ = found(tmp_path, lambda row: row["lr"], BOTH[:1], trials=2)
    keep(store, Definition())
    path = store.folder / JOURNAL
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert doctor(DoctorOptions(str(tmp_path))) == 0
        path.write_bytes(path.read_bytes()[:-9])
        assert doctor(DoctorOptions(str(tmp_path))) == 1
        assert path.exists()
        assert doctor(DoctorOptions(str(tmp_path), fix=True)) == 1
    assert f"bad: {path}: cannot be read as Optuna's journal: JSONDecodeError" in (
        out.getvalue()
    )
    assert not path.exists()
    assert doctor(DoctorOptions(str(tmp_path))) == 0
