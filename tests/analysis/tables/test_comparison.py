"""The comparison as it is printed."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.comparing.compare import Question, compare
from analysis.records.load import Selection, load
from analysis.statistics.metrics import find_metric
from analysis.statistics.power import seeds_needed
from analysis.tables import print_tables
from analysis.tables.comparison import print_comparison
from analysis.tables.formats import FORMATS
from tests.support.synthetic import hash_of, make_run, make_setting, write
from tests.support.synthetic_rho import confirm, rho_runs, rho_settings
from trainables.usage import UsageError

DATA = Path(__file__).parents[3] / "docs" / "data"

SGD = make_setting(tasks=4)
SAM = {**SGD, "optimizer": "sam", "rho": 0.05}
SMALL = {"rates": (0.1, 0.01), "rhos": (0.001, 0.1, 2.0), "tasks": 10}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A small sweep of both problems; large rho diverged, and one run is missing."""
    results = tmp_path_factory.mktemp("sweep")
    runs = [*rho_runs("permuted", range(4), **SMALL)]
    write(results, "permuted", *runs[:-1])
    write(results, "pairwise", *rho_runs("pairwise", range(4), **SMALL))
    return results


def printed(results, format="rich", *, metric="late_accuracy", **options):
    """Return what is printed; other options than detect and selection are asked."""
    shown = {k: options.pop(k) for k in ("detect", "selection") if k in options}
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        question = Question(metric=find_metric(metric), **options)
        print_comparison(str(results), question, format, **shown)
    return out.getvalue(), err.getvalue()


def flat(text):
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("metric", "format"),
    [
        *(("accuracy_change", name) for name in (*FORMATS, "csv")),
        ("late_accuracy", "csv"),
    ],
)
def test_no_table_has_a_nan(sweep, metric, format):
    out, err = printed(sweep, metric=metric, format=format)
    assert "study rho" in out + err
    assert not re.search(r"\bnan\b", out + err, re.IGNORECASE)


def test_each_problem_has_two_sheets_and_each_study_its_winners(sweep):
    out, err = printed(sweep)
    titles = [line for line in out.splitlines() if "study rho: " in line][:5]
    assert titles == [
        "permuted, study rho: against sgd with all else equal",
        "permuted, study rho: against the best sgd, SGD lr 0.01",
        "pairwise, study rho: against sgd with all else equal",
        "pairwise, study rho: against the best sgd, SGD lr 0.01",
        "study rho: the best of each method against the best sgd",
    ]
    assert err == ""


def test_the_last_words_count_every_setting_once(sweep):
    out, _ = printed(sweep, problem="permuted")
    data = pd.read_csv(io.StringIO(printed(sweep, problem="permuted", format="csv")[0]))
    last = flat(out).rpartition("permuted, study rho, late accuracy: ")[2]
    counts = data[data["against"] == "matched"]["verdict"].value_counts()
    assert counts.sum() == len(rho_settings("permuted", **SMALL)) - 2 == 18
    same = (
        f"{counts['the same']} the same within the margin, "
        if "the same" in counts
        else ""
    )
    assert last.startswith(
        f"18 settings. Against sgd with all else equal: {counts.get('better', 0)} "
        f"better, {counts.get('worse', 0)} worse, {same}{counts.get('undecided', 0)} "
        f"undecided, {counts['diverged']} not tested because the setting or the "
        "baseline diverged; against the best sgd: "
    )
    assert "Diverged with some seed: SAM lr 0.1 rho 2," in last


def test_what_is_missing_and_what_diverged_is_named(sweep):
    out, _ = printed(sweep, problem="permuted")
    assert (
        "GNP lr 0.01 rho 2 alpha 0.8 or its baseline has no complete run of seed 3."
        in out
    )
    assert "SAM lr 0.1 rho 2 diverged with seeds 0-3." in out


def test_how_to_confirm_is_said_and_done(sweep, tmp_path):
    out, _ = printed(sweep, problem="pairwise")
    assert "python -m study.sweep rho --confirm-seeds 10" in out
    assert "held out: seeds 0, 2 (pairwise)." in out
    runs = rho_runs("pairwise", range(4), **SMALL)
    write(tmp_path, "pairwise", *runs)
    confirm(tmp_path, range(4, 8), **SMALL)
    out, _ = printed(tmp_path)
    assert "--confirm-seeds" not in out
    assert "confirming: seeds 4-7 (pairwise)." in out


def test_csv_has_all_that_was_compared_and_words_go_elsewhere(sweep):
    out, err = printed(sweep, format="csv")
    data = pd.read_csv(io.StringIO(out))
    # SAM and GNP each have a best setting, on both problems
    rows = {"matched": 36, "best": 36, "choosing": 4, "held out": 4}
    assert data["against"].value_counts().to_dict() == rows
    verdicts, power = err.rstrip().splitlines()[-3], err.rstrip().splitlines()[-1]
    assert verdicts.startswith("note: pairwise, study rho, late accuracy: 18 settings.")
    assert power.startswith("note: pairwise, study rho: ")
    assert all(line.startswith("note: ") for line in err.splitlines())


def flat_runs(setting, seeds, value=0.5):
    return [make_run(setting, s, accuracy=[value] * 4) for s in seeds]


@pytest.mark.parametrize(
    "runs",
    [
        [*flat_runs(SGD, [0]), *flat_runs(SAM, [0])],
        [*flat_runs(SGD, range(3)), *flat_runs(SAM, range(3), 0.7)],
        [make_run(k, s, diverged_at=0) for k in (SGD, SAM) for s in (0, 1)],
        [*flat_runs(SGD, [0, 1]), *flat_runs({**SAM, "lr": 0.5}, [0, 1])],
        [*flat_runs(SGD, [0, 1]), *flat_runs(SAM, [2, 3])],
    ],
    ids=["one seed", "constant", "all diverged", "no counterpart", "no shared seed"],
)
@pytest.mark.parametrize("format", ["rich", "csv"])
def test_where_nothing_can_be_told_it_says_so(tmp_path, runs, format):
    write(tmp_path, "x", *runs)
    out, err = printed(tmp_path, format=format)
    said = out + err
    assert "nan" not in said.lower()
    assert "0 better, 0 worse, 0 undecided" in flat(said)
    if format == "rich":
        assert "n/a" in out


def test_a_relative_metric_says_what_it_is_relative_to(tmp_path):
    rng = np.random.default_rng(0)
    fresh = {**SGD, "intervention": "fresh"}
    for study, kinds in (("rho", (SGD, SAM)), ("fresh", (fresh,))):
        runs = [make_run(k, s, study, rng.random(4)) for k in kinds for s in range(4)]
        write(tmp_path, "x", *runs)
    out, _ = printed(tmp_path, metric="relative_accuracy_slope", study="rho")
    words = "the accuracy of a network that is reset at every task is subtracted"
    assert words in flat(out)
    assert "study fresh" not in out


def test_levels_that_are_not_alike_are_named(capsys):
    results, measure = str(DATA / "control-rewards"), "mean_return"

    def is_said() -> bool:
        said = flat(capsys.readouterr().out)
        return "every second level has other rewards" in said

    for where, expected in (("TRUE", True), ("problem = 'grid'", False)):
        print_tables(results, selection=Selection(where), measure=measure)
        assert is_said() == expected
        question = Question(metric=find_metric("mean_accuracy").of(measure))
        print_comparison(results, question, selection=Selection(where))
        assert is_said() == expected
    for where, trends in (("problem = 'cartpole'", 0), ("problem = 'grid'", 2)):
        print_comparison(results, question, selection=Selection(where))
        assert flat(capsys.readouterr().out).count("Along the stream") == trends
    relative = find_metric("relative_accuracy_slope").of(measure)
    print_comparison(results, Question(metric=relative))
    assert not is_said()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": "plasticity"}, "did you mean 'plasticity_loss'"),
        ({"study": "roh"}, "did you mean 'rho'"),
        ({"problem": "pair"}, "unknown problem 'pair'"),
        ({"baseline": "adam"}, "unknown baseline 'adam'"),
        ({"format": "html"}, "unknown format 'html'"),
        ({"metric": "relative_accuracy_slope"}, "^relative_accuracy_slope needs runs"),
        ({"baseline": "none"}, "nothing to compare in .* belongs to the baseline none"),
        ({"selection": Selection("lr > 9")}, "matches no record"),
    ],
)
def test_mistakes_are_named(sweep, options, said):
    with pytest.raises(UsageError, match=said):
        printed(sweep, **options)


def test_confirming_adds_seeds_to_the_best_only(tmp_path):
    write(tmp_path, "p", *rho_runs("pairwise", range(3), **SMALL))
    confirm(tmp_path, range(3, 5), **SMALL)
    frame = load(str(tmp_path))
    counts = frame.groupby("setting_id")["seed"].nunique()
    # the best SGD, SAM and GNP
    assert sorted(counts)[-4:] == [3, 5, 5, 5]
    assert counts.index.isin(
        [hash_of(s) for s in rho_settings("pairwise", **SMALL)]
    ).all()


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """A study of SGD and SAM with five seeds that differ by several points."""
    results = tmp_path_factory.mktemp("noisy")
    rng = np.random.default_rng(0)
    for name, setting in (("sgd", SGD), ("sam", SAM)):
        values = 0.8 + rng.normal(0, 0.03, (5, 4))
        write(
            results,
            name,
            *(make_run(setting, s, "rho", v) for s, v in enumerate(values)),
        )
    return results


def test_the_difference_that_would_have_been_found_is_printed(noisy):
    out, _ = printed(noisy)
    (row, _) = compare(load(str(noisy))).to_dict("records")
    assert row["verdict"] == "undecided"
    points = f"{100 * row['detectable']:.2f}"
    assert (
        "permuted, study rho: 2 tests are corrected together. Half of the tests with "
        f"all else equal would have found a true difference of {points} pp with a "
        "probability of 80%."
    ) in flat(out)
    assert "undecided does not mean equal" in flat(out)
    assert "the same within the margin" not in flat(out)


def test_how_many_seeds_a_difference_needs_is_said(noisy):
    (row, _) = compare(load(str(noisy))).to_dict("records")
    needed = seeds_needed(0.02 / row["sd"], 2)
    assert needed > 5
    text = flat(printed(noisy, detect=2.0)[0])
    assert f"To find 2 pp, {needed} seeds are needed." in text
    text = flat(printed(noisy, detect=0.001)[0])
    assert "To find 0.001 pp, more than 1000 seeds are needed." in text
    assert "To find" not in flat(printed(noisy)[0])


def test_a_trend_is_detected_over_the_stream(noisy):
    """Per task the slope would read as a third of what it is over four tasks."""
    question = Question(metric=find_metric("accuracy_slope"))
    (row, _) = compare(load(str(noisy)), question).to_dict("records")
    out = flat(printed(noisy, metric="accuracy_slope", detect=2.0)[0])
    points = f"{100 * 3 * row['detectable']:.2f}"
    assert f"a true difference of {points} pp over stream with" in out
    needed = seeds_needed(0.02 / (3 * row["sd"]), 2)
    assert f"To find 2 pp over stream, {needed} seeds are needed." in out


def test_the_margin_of_the_level_is_no_change_over_the_stream(noisy):
    out = flat(printed(noisy, metric="accuracy_slope")[0])
    assert "late accuracy is not lower by more than 0.50 pp (95% interval)" in out
    assert "shown to be within ± 0.50 pp over stream" in out


@pytest.mark.parametrize("detect", [None, 1.0])
def test_where_nothing_was_tested_no_power_is_told(tmp_path, detect):
    """Each setting has two whole runs and one that diverged: no test, but a spread."""
    rng = np.random.default_rng(0)
    for name, setting in (("sgd", SGD), ("sam", SAM)):
        runs = [make_run(setting, s, accuracy=rng.uniform(0.5, 1, 4)) for s in (0, 1)]
        write(tmp_path, name, *runs, make_run(setting, 2, diverged_at=1))
    out, _ = printed(tmp_path, detect=detect)
    assert "tests are corrected together" not in flat(out)


def test_only_a_fresh_network_is_no_rival_on_a_relative_metric(tmp_path):
    for name, setting in (("sgd", SGD), ("fresh", {**SGD, "intervention": "fresh"})):
        write(tmp_path, name, *(make_run(setting, s) for s in (0, 1)))
    with pytest.raises(UsageError) as error:
        printed(tmp_path, metric="relative_plasticity_loss", baseline="none")
    assert str(error.value) == (
        f"nothing to compare in {tmp_path}: every setting that has a relative "
        "plasticity loss belongs to the baseline none; choose another baseline with "
        "--baseline"
    )


def test_a_filter_chooses_what_is_compared(sweep):
    out, _ = printed(
        sweep, "csv", selection=Selection("problem = 'pairwise' and seed < 3")
    )
    data = pd.read_csv(io.StringIO(out))
    assert set(data["problem"]) == {"pairwise"}
    assert data.loc[data["against"] == "matched", "pairs"].max() == 3


def test_the_table_says_what_was_flatter_but_lower(tmp_path):
    rng = np.random.default_rng(0)
    fall = np.array([0.9, 0.88, 0.86, 0.84])
    for name, setting, values in (("sgd", SGD, fall), ("sam", SAM, 0 * fall + 0.1)):
        runs = [
            make_run(setting, s, accuracy=values + rng.normal(0, 0.002, 4))
            for s in range(6)
        ]
        write(tmp_path, name, *runs)
    out, _ = printed(tmp_path, metric="plasticity_loss")
    assert "0 better, 0 worse, 1 flatter but lower, 0 undecided" in flat(out)
    assert "A network that never learns is as flat as can be." in flat(out)
