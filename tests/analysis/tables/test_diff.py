"""The difference of two results: what is the same, what moved, and by how much."""

import attrs
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.records.load import load, load_records
from analysis.statistics.intervals import welch_interval
from analysis.tables.diff import (
    difference,
    equality_sheet,
    metadata_sheet,
    print_difference,
)
from tests.support.synthetic import draw_accuracy, make_run, make_setting, write
from trainables.usage import UsageError

SETTING = make_setting(tasks=8)
OTHER = make_setting(tasks=8, optimizer="sam", rho=0.05)


def put(folder, shift=0.0, seeds=range(4), noise=0.0, **more):
    """Write two settings, the second with its accuracy moved."""
    for name, setting, by in (("a", SETTING, 0.0), ("b", OTHER, shift)):
        runs = []
        for seed in seeds:
            own = np.random.default_rng(seed).normal(0, noise, 8) if noise else 0
            values = draw_accuracy(setting, seed) + (by + own if by or noise else 0)
            runs.append(make_run(setting, seed, accuracy=values, **more))
        write(folder, name, *runs)
    return str(folder)


def rows(one, other):
    data = difference(load(one), load(other))
    return {(r["label"][:3], r["metric"]): r for r in data.to_dict("records")}


def test_the_same_records_are_the_same_to_the_bit(tmp_path, capsys):
    one, other = put(tmp_path / "a"), put(tmp_path / "b", study="renamed")
    print_difference(one, other)
    said = capsys.readouterr().out
    assert "Of 8 numbers of 2 settings, 8 are the same, 0 moved" in said
    assert "the same code, versions and hardware" in said
    assert "64 records (one per run and task) are in A and B, 0 in A only" in said


def test_what_moved_is_told_from_what_did_not(tmp_path):
    found = rows(put(tmp_path / "a"), put(tmp_path / "b", shift=-0.01))
    moved = found["SAM", "mean_accuracy"]
    assert moved["verdict"] == "moved"
    assert moved["difference"] == pytest.approx(-0.01)
    assert moved["pairs"] == 4
    assert found["SGD", "mean_accuracy"]["verdict"] == "same"
    # a shift of every task alike moves no slope but by rounding
    assert abs(found["SAM", "accuracy_slope"]["difference"]) < 1e-12


def test_noise_is_within_its_interval(tmp_path):
    found = rows(put(tmp_path / "a"), put(tmp_path / "b", noise=0.01))
    row = found["SGD", "mean_accuracy"]
    assert row["verdict"] == "within"
    assert row["lo"] < 0 < row["hi"]


def test_other_seeds_are_compared_as_samples(tmp_path):
    found = rows(put(tmp_path / "a"), put(tmp_path / "b", seeds=range(10, 14)))
    assert {row["pairs"] for row in found.values()} == {0}
    row = found["SGD", "mean_accuracy"]
    values = [
        [draw_accuracy(SETTING, seed).mean() for seed in seeds]
        for seeds in (range(4), range(10, 14))
    ]
    test = stats.ttest_ind(values[1], values[0], equal_var=False)
    expected = test.confidence_interval(0.95)
    assert (row["lo"], row["hi"]) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("values", [([1.0], [2.0, 3.0]), ([], [1.0])])
def test_too_few_have_no_interval(values):
    assert np.isnan(welch_interval(*map(np.array, values))[1:]).all()


def test_what_made_them_stands_side_by_side(tmp_path):
    one, other = put(tmp_path / "a"), put(tmp_path / "b")
    a, b = load_records(one).files, load_records(other).files
    b[0] = attrs.evolve(b[0], metadata={**b[0].metadata, "commit": "other"})
    sheet = metadata_sheet(a, b)
    assert sheet.rows == [["commit", "synthetic", "other, synthetic"]]


def test_what_one_has_not_measured_is_counted(tmp_path):
    a, b = (load(put(tmp_path / n)) for n in "ab")
    b.loc[0, "test_accuracy"] = np.nan
    b.loc[1, "test_accuracy"] += 0.25
    row = {r[0]: r for r in equality_sheet(a, b, ["test_accuracy"]).rows}[
        "test_accuracy"
    ]
    assert row == ["test_accuracy", "62 of 64", "0.25", "1"]


def test_runs_that_diverged_in_one_are_not_paired(tmp_path):
    one, other = put(tmp_path / "a"), put(tmp_path / "b")
    write(tmp_path / "b", "b", *(make_run(OTHER, s, diverged_at=3) for s in range(4)))
    row = rows(one, other)["SAM", "mean_accuracy"]
    assert (row["runs_b"], row["pairs"], row["verdict"]) == (0, 0, "n/a")
    assert pd.isna(row["difference"])


def test_what_cannot_be_compared_is_said(tmp_path):
    one = put(tmp_path / "a")
    write(tmp_path / "c", "x", make_run(make_setting(tasks=3), 0))
    with pytest.raises(UsageError, match="no setting is in both"):
        print_difference(one, str(tmp_path / "c"))
    put(tmp_path / "a", study="second")
    with pytest.raises(UsageError, match=r"has several studies \(paper, second\)"):
        print_difference(one, one)
