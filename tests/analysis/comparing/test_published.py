"""Published numbers beside ours."""

import numpy as np
import pandas as pd
import pytest

from analysis.comparing.published import (
    DIFFERENT,
    PUBLICATIONS,
    REPRODUCED,
    UNDECIDED,
    published_numbers,
    replication,
)
from analysis.figures.picture import View
from analysis.figures.replication import FIGURE, replication_curves
from analysis.records.runs import setting_columns
from analysis.tables.replication import replication_sheets, unrepeated, verdicts
from study.spec.studies import STUDIES
from tests.support.synthetic import make_run, make_setting
from trainables.usage import UsageError

DOHARE = make_setting(batch_size=1, lr=0.003, tasks=101)


def published_curve():
    """Return all published values; between two of them, a straight line."""
    numbers = published_numbers("dohare-2024")
    return np.interp(np.arange(101), numbers["task"], numbers["value"])


def records(offset=0.0, setting=DOHARE, seeds=range(3)):
    """Return runs whose online accuracy is the published one plus an offset.

    The seeds differ by ± 0.001, so their mean is exact.
    """
    runs = []
    for seed in seeds:
        run = make_run(setting, seed, accuracy=[0.5] * setting["tasks"]).to_pandas()
        curve = published_curve()[: setting["tasks"]]
        run["online_accuracy"] = curve + offset + 0.001 * (seed - 1)
        runs.append(run)
    return pd.concat(runs, ignore_index=True)


@pytest.mark.parametrize("name", PUBLICATIONS)
def test_a_study_has_the_setting_of_each_publication(name):
    publication = PUBLICATIONS[name]
    rows = STUDIES[publication.study].rows().values()
    assert sum(publication.is_repeated_by(row) for row in rows) == 1


@pytest.mark.parametrize("name", PUBLICATIONS)
def test_published_numbers_are_fractions_with_intervals_around_them(name):
    numbers = published_numbers(name)
    assert len(numbers) > 0
    assert numbers["value"].between(0, 1).all()
    assert not numbers["task"].duplicated().any()
    known = numbers.dropna(subset=["lo"])
    assert (known["lo"] < known["value"]).all()
    assert (known["value"] < known["hi"]).all()


def test_the_difference_is_ours_minus_the_published_number():
    data = replication(records(offset=0.002))
    assert data["difference"].to_numpy(float) == pytest.approx(0.002)
    assert (data["verdict"] == REPRODUCED).all()
    assert (data["hi"] - data["mean"]).to_numpy(float) == pytest.approx(
        4.30265 * 0.001 / np.sqrt(3), rel=1e-5
    )
    (line,) = verdicts(data)
    assert line.startswith("dohare-2024: reproduced within 0.30 pp. The largest ")
    assert "is +0.20 pp" in line
    assert line.endswith("The peak is at task 1 here and at task 1 in the publication.")
    assert [line.split(":")[0] for line in unrepeated(data)] == ["kumar-2023"]


def test_one_task_that_differs_too_much_is_not_reproduced():
    frame = records()
    frame.loc[frame["task"] == 50, "online_accuracy"] -= 0.01
    data = replication(frame)
    (line,) = verdicts(data)
    assert f"not reproduced within 0.30 pp at 1 of {len(data)} tasks" in line
    assert "is -1.00 pp, at task 50" in line
    (sheet,) = replication_sheets(data)
    row = next(row for row in sheet.rows if row[0] == "50")
    assert row[-2:] == ["-1.00", "no"]


def test_a_difference_that_noise_can_explain_is_undecided():
    frame = records()
    task, seed = frame["task"] == 50, frame["seed"]
    frame.loc[task, "online_accuracy"] += 0.005 * (seed[task] - 1) - 0.004
    data = replication(frame)
    (row,) = data[data["task"] == 50].to_dict("records")
    # the seeds differ by 0.006, and t(0.975; 2) = 4.30265
    own = 4.30265 * 0.006 / np.sqrt(3)
    other = (row["published_hi"] - row["published_lo"]) / 2
    assert row["noise"] == pytest.approx(np.hypot(own, other), rel=1e-5)
    assert row["verdict"] == UNDECIDED
    (line,) = verdicts(data)
    said = "dohare-2024: it is undecided whether the curve is reproduced within 0.30 pp"
    assert line.startswith(said)
    assert f"0.30 pp: {len(data) - 1} of {len(data)} tasks are." in line
    assert f"up to ± {100 * row['noise']:.2f} pp" in line


def test_a_peak_that_noise_moves_is_said_to_be_open():
    """Task 2 differs from task 1 by 0.12 ± 0.9 points, which is paired by seed."""
    frame = records()
    task, seed = frame["task"] == 2, frame["seed"]
    frame.loc[task, "online_accuracy"] += 0.0036 * (seed[task] - 1)
    (line,) = verdicts(replication(frame))
    assert line.endswith(
        "The peak is at task 1 here (or, because of noise, at task 2) and at task 1 in "
        "the publication."
    )


def test_a_single_run_contradicts_nothing():
    """Its noise is unknown."""
    data = replication(records(offset=-0.1, seeds=[1]))
    assert set(data["verdict"]) == {UNDECIDED}
    assert "because one run does not show how much runs differ" in verdicts(data)[0]
    assert set(replication(records(offset=-0.1))["verdict"]) == {DIFFERENT}


@pytest.mark.parametrize(
    "change",
    [{"lr": 0.001}, {"batch_size": 2}, {"hidden": "100"}, {"weight_decay": 0.1}],
)
def test_another_setting_repeats_nothing(change):
    frame = records(setting={**DOHARE, **change})
    assert replication(frame).empty
    with pytest.raises(UsageError, match="no setting"):
        replication_curves(frame)
    assert any("study.sweep dohare-2024" in line for line in unrepeated(frame_of()))


def frame_of():
    return replication(records(setting={**DOHARE, "lr": 0.001}))


def test_a_number_over_all_tasks_is_the_mean_of_the_stream():
    setting = make_setting(**PUBLICATIONS["kumar-2023"].setting)
    runs = [make_run(setting, seed).to_pandas() for seed in range(2)]
    for run, step in zip(runs, (-0.001, 0.003), strict=True):
        run["online_accuracy"] = 0.811 + step + np.linspace(-0.1, 0.1, 20)
    data = replication(pd.concat(runs, ignore_index=True))
    assert data["mean"].to_numpy(float) == pytest.approx(0.812)
    assert verdicts(data) == [
        "kumar-2023: reproduced within 0.50 pp: the difference is +0.10 pp (2 runs "
        "here, 5 published)."
    ]
    (sheet,) = replication_sheets(data)
    assert sheet.rows == [["all", "81.20 ± 2.54", "81.10 ± n/a", "+0.10", "yes"]]
    longer = pd.concat(runs).assign(tasks=40)
    assert replication(longer).empty


def test_a_shorter_stream_repeats_the_first_numbers():
    data = replication(records(setting={**DOHARE, "tasks": 4}))
    assert data["task"].max() <= 3
    assert len(data) >= 3


def test_tasks_keep_their_numbers_when_the_first_ones_are_left_out():
    frame = records()
    frame = frame[frame["task"] >= 1].assign(tasks=100)
    frame["task"] -= 1
    frame.attrs |= {"first_task": 1, "setting_columns": tuple(setting_columns(frame))}
    data = replication(frame)
    assert data["task"].min() == 1
    assert data["difference"].to_numpy(float) == pytest.approx(0, abs=1e-12)


def test_the_figure_has_all_settings_of_the_stream_and_the_published_curve_on_top():
    sam = make_setting(batch_size=1, lr=0.003, tasks=101, optimizer="sam", rho=0.02)
    frame = pd.concat([records(), records(setting=sam)], ignore_index=True)
    data = FIGURE.data(frame, View(), {})
    assert data["label"].unique().tolist() == [
        "SGD lr 0.003",
        "SAM lr 0.003",
        "dohare-2024, published",
    ]
    published = data[data["setting_id"] == "dohare-2024"]
    numbers = published_numbers("dohare-2024")
    assert published["mean"].tolist() == numbers["value"].tolist()
    assert published["lo"].tolist() == numbers["lo"].tolist()
    assert set(data["window"]) == {1}
