import numpy as np
import pandas as pd
import pytest

from analysis.figures.curves.figure import draw_by_task
from analysis.figures.forgetting import FIGURE, TITLES, forgetting_by_task
from tests.support.synthetic import frame, make_run, make_setting
from trainables.usage import UsageError

SHORT = make_setting(tasks=4)


def records_of_three():
    return frame(*(make_run(SHORT, seed) for seed in range(3)))


def test_earlier_tasks_have_an_accuracy_from_the_second_task_on():
    records = records_of_three()
    random = np.random.default_rng(0)
    looked = [
        random.uniform(size=min(task, 2)) if task else None for task in records["task"]
    ]
    records["backward_accuracy"] = pd.Series(looked, dtype=object)
    data = forgetting_by_task(records)
    means = data.pivot_table("mean", "task", "measure")
    assert list(means) == sorted(TITLES)
    for task in (1, 2, 3):
        of_seeds = [
            each for each, t in zip(looked, records["task"], strict=True) if t == task
        ]
        row = means.loc[task]
        assert row["earlier_accuracy"] == pytest.approx(
            np.mean([np.mean(each) for each in of_seeds])
        )
        assert row["last_task_accuracy"] == pytest.approx(
            np.mean([each[0] for each in of_seeds])
        )
    assert means.loc[0].notna().to_dict() == {
        "test_accuracy": True,
        "last_task_accuracy": False,
        "earlier_accuracy": False,
        "backward_transfer": False,
    }
    assert len(draw_by_task(data).axes) == 4


def test_backward_transfer_is_what_later_tasks_add_to_earlier_ones():
    """Every earlier task loses 0.1 per task that follows it."""
    records = records_of_three()
    records["test_accuracy"] = 0.9 - 0.01 * records["task"]
    records["backward_accuracy"] = pd.Series(
        [
            [0.9 - 0.01 * (t - back) - 0.1 * back for back in range(1, t + 1)] or None
            for t in records["task"]
        ],
        dtype=object,
    )
    data = forgetting_by_task(records)
    found = data[data["measure"] == "backward_transfer"]
    assert found["task"].tolist() == [1, 2, 3]
    # the paper's BWT after the last task: the mean of -0.1, -0.2 and -0.3
    assert found["mean"].tolist() == pytest.approx([-0.1, -0.15, -0.2])


def test_accuracies_that_are_compared_have_one_scale():
    records = records_of_three()
    looked = [[0.5] if task else None for task in records["task"]]
    records["backward_accuracy"] = pd.Series(looked, dtype=object)
    figure = FIGURE.draw(forgetting_by_task(records), None)
    limits = {ax.get_title(): ax.get_ylim() for ax in figure.axes}
    accuracies = [pair for title, pair in limits.items() if title.endswith("(%)")]
    assert len(accuracies) == 3
    assert len(set(accuracies)) == 1
    assert accuracies[0][0] < 50 < 90 < accuracies[0][1]
    (transfer,) = [pair for title, pair in limits.items() if "(pp)" in title]
    assert transfer != accuracies[0]


def test_without_looking_back_it_says_how_to():
    records = records_of_three().assign(backward_accuracy=None)
    with pytest.raises(UsageError, match="--look-back 5"):
        forgetting_by_task(records)
