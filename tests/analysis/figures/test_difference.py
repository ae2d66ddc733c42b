"""The figure of paired differences by task."""

import numpy as np
import pandas as pd
import pytest

from analysis.figures.curves.figure import draw_by_task
from analysis.figures.difference import FIGURE, KIND, difference_by_task
from analysis.figures.picture import View
from analysis.statistics.bands import simultaneous_band
from tests.support.synthetic import frame, make_run, make_setting
from trainables.usage import UsageError

SGD = make_setting(tasks=6)
SAM = make_setting(tasks=6, optimizer="sam", rho=0.05)


def pairs(seeds=range(5), gap=0.01):
    """Return the accuracies of SAM and SGD, which share what is hard about a task."""
    random = np.random.default_rng(0)
    hard = random.normal(0, 0.05, (len(seeds), 6))
    noise = random.normal(0, 0.002, (len(seeds), 6))
    return 0.9 + gap + hard + noise, 0.9 + hard


def records(seeds=range(5), **options):
    sam, sgd = pairs(seeds, **options)
    runs = [make_run(SGD, s, accuracy=row) for s, row in zip(seeds, sgd, strict=True)]
    runs += [make_run(SAM, s, accuracy=row) for s, row in zip(seeds, sam, strict=True)]
    return frame(*runs)


def test_the_curve_is_the_mean_of_paired_differences_with_a_band_for_all_tasks():
    data = difference_by_task(records(), View())
    sam, sgd = pairs()
    expected = simultaneous_band(sam - sgd)
    for name, values in expected._asdict().items():
        assert data[name].tolist() == pytest.approx(values.tolist())
    assert data["label"].unique().tolist() == ["SAM lr 0.01"]
    assert data["baseline_label"].unique().tolist() == ["SGD lr 0.01"]
    # Unpaired, the tasks would hide a difference of one point.
    assert (data["hi"] - data["lo"]).max() < 0.02
    assert np.array(data["seed_values"].tolist()) == pytest.approx((sam - sgd).T)


def test_only_seeds_that_both_settings_finished_are_compared():
    frame_ = records()
    without = frame_[~((frame_["optimizer"] == "sgd") & (frame_["seed"] == 4))]
    data = difference_by_task(without, View())
    assert set(data["runs"]) == {4}
    sam, sgd = pairs()
    assert data["mean"].tolist() == pytest.approx((sam - sgd)[:4].mean(axis=0))


def test_where_a_run_diverged_there_is_no_band():
    more = [make_run(SAM, 9, diverged_at=2), make_run(SGD, 9)]
    data = difference_by_task(pd.concat([records(), frame(*more)]), View())
    assert data["lo"].isna().all()
    assert data["mean"].notna().all()
    (text,) = [
        t.get_text() for t in FIGURE.draw(data, None).texts if "No band" in t.get_text()
    ]
    assert "diverged" in text


def test_zero_has_a_line_and_is_on_the_axis():
    data = difference_by_task(records(gap=0.05), View())
    figure = FIGURE.draw(data, None)
    (ax,) = figure.axes
    low, high = ax.get_ylim()
    assert low < 0 < 5 < high
    zeros = [line for line in ax.lines if set(np.atleast_1d(line.get_ydata())) == {0}]
    assert len(zeros) == 1
    title = ax.get_title().replace("\n", " ")
    assert "difference in test accuracy to sgd, all else equal (pp)" in title


def test_at_most_eight_curves():
    runs = [make_run(SGD, s) for s in range(2)]
    for i in range(KIND.most + 1):
        setting = make_setting(tasks=6, optimizer="sam", rho=0.01 + i)
        runs += [make_run(setting, s) for s in range(2)]
    data = difference_by_task(frame(*runs), View())
    with pytest.raises(UsageError, match=r"9 settings.*at most 8: choose settings"):
        FIGURE.draw(data, None)
    few = data[data["setting_id"].isin(data["setting_id"].unique()[:8])]
    assert len(FIGURE.draw(few, None).axes) == 1


def test_another_measure_and_baseline():
    redo = make_setting(tasks=6, intervention="redo", redo_tau=0.1)
    data = pd.concat([records(), frame(*(make_run(redo, s) for s in range(5)))])
    found = difference_by_task(data, View(measure="train_loss", baseline="none"))
    assert found["label"].unique().tolist() == ["SGD lr 0.01 redo"]
    assert found["title"].unique().tolist() == [
        "difference in train loss to no remedy, all else equal (nats)"
    ]
    with pytest.raises(UsageError, match="Choose another baseline with --baseline"):
        difference_by_task(data[data["optimizer"] == "sgd"], View())


def test_a_difference_is_not_clipped_at_zero_or_a_hundred():
    data = difference_by_task(records(gap=-0.05), View())
    low, high = draw_by_task(data, None, KIND).axes[0].get_ylim()
    assert low < -5
    assert 0 < high < 5
