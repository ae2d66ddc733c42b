"""The comparison as it is printed."""

import contextlib
import io
import re

import numpy as np
import pandas as pd
import pytest

from analysis.records.load import load
from analysis.tables.comparison import print_comparison
from analysis.tables.formats import FORMATS
from tests.support.synthetic import hash_of, make_run, make_setting, write
from tests.support.synthetic_rho import confirm, rho_runs, rho_settings
from trainables.usage import UsageError

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


def printed(results, *options, **named):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        print_comparison(str(results), *options, **named)
    return out.getvalue(), err.getvalue()


def flat(text):
    return " ".join(text.split())


@pytest.mark.parametrize("format", [*FORMATS, "csv"])
@pytest.mark.parametrize("metric", ["plasticity_loss", "accuracy_change"])
def test_no_table_has_a_nan(sweep, format, metric):
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
        "study rho: the winner against the best sgd",
    ]
    assert err == ""


def test_the_last_words_count_every_setting_once(sweep):
    out, _ = printed(sweep, problem="permuted")
    data = pd.read_csv(io.StringIO(printed(sweep, problem="permuted", format="csv")[0]))
    last = flat(out).rpartition("permuted, study rho, plasticity loss: ")[2]
    counts = data[data["against"] == "matched"]["verdict"].value_counts()
    assert counts.sum() == len(rho_settings("permuted", **SMALL)) - 2 == 18
    assert last.startswith(
        f"18 settings. Against sgd with all else equal: {counts.get('better', 0)} "
        f"better, {counts.get('worse', 0)} worse, {counts.get('undecided', 0)} "
        f"undecided, {counts['diverged']} not tested because a run diverged."
    )
    assert "Settings with a diverged run: SAM lr 0.1 rho 2," in last


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
    runs = rho_runs("pairwise", range(4), **SMALL)
    write(tmp_path, "pairwise", *runs)
    confirm(tmp_path, range(4, 8), **SMALL)
    out, _ = printed(tmp_path)
    assert "--confirm-seeds" not in out
    assert "confirming seeds: seeds 4-7." in out


def test_csv_has_all_that_was_compared_and_words_go_elsewhere(sweep):
    out, err = printed(sweep, format="csv")
    data = pd.read_csv(io.StringIO(out))
    rows = {"matched": 36, "best": 36, "choosing": 4, "confirming": 4}
    assert data["against"].value_counts().to_dict() == rows
    assert err.rstrip().splitlines()[-1].startswith("note: pairwise, study rho,")
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
    assert "subtracting a fresh network's accuracy" in flat(out)
    assert "study fresh" not in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": "plasticity"}, "did you mean 'plasticity_loss'"),
        ({"study": "roh"}, "did you mean 'rho'"),
        ({"problem": "pair"}, "unknown problem 'pair'"),
        ({"baseline": "adam"}, "unknown baseline 'adam'"),
        ({"format": "html"}, "unknown format 'html'"),
        ({"metric": "relative_accuracy_slope"}, "needs runs with the intervention"),
        ({"baseline": "none"}, "there is nothing to compare"),
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
    assert sorted(counts)[-3:] == [3, 5, 5]
    assert counts.index.isin(
        [hash_of(s) for s in rho_settings("pairwise", **SMALL)]
    ).all()
