"""The sentences on a comparison: every number, and no word too many."""

import numpy as np
import pandas as pd
import pytest

from analysis.comparing.compare import Question, confirm
from analysis.statistics.metrics import METRICS, find_metric
from analysis.tables.headline import headlines
from tests.support.synthetic import make_frame, make_setting

TASKS = 10
SGD = make_setting(tasks=TASKS)
SAM = {**SGD, "optimizer": "sam", "rho": 0.05}
GNP = {**SGD, "optimizer": "gnp", "rho": 0.05, "alpha": 0.7}


def runs(start, end, seeds=8, noise=0.002):
    rng = np.random.default_rng([round(1e4 * start), round(1e4 * end)])
    return np.linspace(start, end, TASKS) + rng.normal(0, noise, (seeds, TASKS))


def said(*pairs, study="paper", question=None):
    """Return the headlines on settings and their accuracies."""
    question = question or Question()
    return headlines(confirm(make_frame(pairs, study), question), question)


def test_a_problem_has_one_paragraph_with_every_difference_and_its_interval():
    ends = ((SGD, 0.95, 0.9), (SAM, 0.95, 0.85), (GNP, 0.951, 0.9))
    pairs = [(kind, runs(*levels, noise=5e-4)) for kind, *levels in ends]
    (line,) = said(*pairs)
    rows = confirm(make_frame(pairs)).query("against == 'held out'")
    sam, gnp = rows.to_dict("records")

    def points(row):
        return f"{100 * row['difference']:.2f} ± {50 * (row['hi'] - row['lo']):.2f} pp"

    assert line.startswith(
        "permuted: against the best sgd (SGD lr 0.01, late accuracy "
        f"{100 * sam['baseline_mean']:.2f}%), SAM lr 0.01 ({points(sam)}, corrected p ="
    )
    assert f"is worse; GNP lr 0.01 ({points(gnp)}, corrected p =" in line
    assert "is the same within 0.50 pp, over 4 seeds that took no part in" in line


def test_another_metric_than_the_one_that_chose_is_named():
    pairs = (SGD, runs(0.9, 0.9, noise=5e-4)), (SAM, runs(0.8, 0.9, noise=5e-4))
    (line,) = said(*pairs, question=Question(metric=METRICS["mean_accuracy"]))
    assert line.startswith("permuted: against the sgd with the best late accuracy (SGD")


def test_undecided_says_what_would_have_been_found():
    pairs = (SGD, runs(0.9, 0.9, noise=0.05)), (SAM, runs(0.9, 0.91, noise=0.05))
    (line,) = said(*pairs)
    (row,) = (
        confirm(make_frame(pairs)).query("against == 'held out'").to_dict("records")
    )
    assert f", detectable {100 * row['detectable']:.2f} pp) is undecided" in line


@pytest.mark.parametrize(
    ("sgd", "sam", "gnp", "expected"),
    [
        ((0.9, 0.8), (0.9, 0.7), (0.9, 0.85), ["loses pp", "loses more", "loses less"]),
        ((0.8, 0.9), (0.7, 0.9), (0.85, 0.9), ["gains pp", "gains more", "gains less"]),
        (
            (0.9, 0.8),
            (0.8, 0.9),
            (0.9, 0.8001),
            ["loses pp", "gains pp", "loses no difference was detected"],
        ),
    ],
    ids=["all lose", "all gain", "one gains"],
)
def test_the_trend_stands_beside_and_loses_is_never_said_of_a_gain(
    sgd, sam, gnp, expected
):
    (line,) = said((SGD, runs(*sgd)), (SAM, runs(*sam)), (GNP, runs(*gnp)))
    trend = line.split(" Along the stream, ")[1].removesuffix(".")
    clauses = trend.replace(" and ", ", ").split(", ")
    for clause, words in zip(clauses, expected, strict=True):
        verb, note = words.split(" ", 1)
        assert f" {verb} " in clause
        assert clause.removesuffix(")").endswith(note)


def test_a_network_that_never_learns_is_said_to_be_lower():
    question = Question(metric=METRICS["plasticity_loss"])
    (line,) = said((SGD, runs(0.95, 0.9)), (SAM, runs(0.1, 0.1)), question=question)
    assert "is flatter but lower, over" in line
    assert "better" not in line
    slope = Question(metric=find_metric("accuracy_slope"))
    (line,) = said((SGD, runs(0.95, 0.9)), (SAM, runs(0.95, 0.8)), question=slope)
    assert "pp over stream, corrected p" in line


def test_networks_that_learn_nothing_have_one_line():
    (line,) = said((SGD, runs(0.1, 0.1)), (SAM, runs(0.1, 0.11)), (GNP, runs(0.1, 0.1)))
    assert line == (
        "permuted: no network learned more than chance: neither the best sgd (SGD lr "
        "0.01) nor SAM lr 0.01 and GNP lr 0.01."
    )


def test_what_is_not_compared_says_why():
    (line,) = said((SGD, runs(0.9, 0.9, 2)), (SAM, runs(0.9, 0.8, 2)))
    why = "a comparison needs two seeds that took no part in the choice"
    assert line == f"permuted: SAM lr 0.01 is not compared: {why}."
    frame = make_frame([(SGD, runs(0.9, 0.9)), (SAM, runs(0.9, 0.8))])
    frame.loc[(frame["optimizer"] == "sam") & (frame["seed"] == 2), "diverged"] = True
    (line,) = headlines(confirm(frame), Question())
    assert line == "permuted: SAM lr 0.01 is not compared: it diverged with seed 2."
    short = [
        ({**kind, "tasks": 1}, runs(x, x)[:, :1])
        for kind, x in ((SGD, 0.9), (SAM, 0.8))
    ]
    question = Question(metric=METRICS["plasticity_loss"])
    (line,) = said(*short, question=question)
    assert line.endswith("the plasticity loss of such a short stream is undefined.")
    (line,) = headlines(confirm(frame[frame["optimizer"] == "sgd"]), Question())
    assert line.startswith("No setting can be compared with the best sgd")


def test_a_baseline_without_a_part_is_named_in_words():
    kinds = SGD, {**SGD, "weight_decay": 0.1}
    question = Question(baseline="none")
    levels = zip(kinds, (0.9, 0.8), strict=True)
    (line,) = said(*((k, runs(x, x)) for k, x in levels), question=question)
    assert (
        "against the best setting with no remedy (SGD lr 0.01 weight_decay 0," in line
    )


def test_several_studies_are_told_apart():
    frames = [
        make_frame([(SGD, runs(0.9, 0.9)), (SAM, runs(0.9, 0.8))], study)
        for study in ("a", "b")
    ]
    lines = headlines(confirm(pd.concat(frames, ignore_index=True)), Question())
    assert [line.partition(":")[0] for line in lines] == [
        "permuted, study a",
        "permuted, study b",
    ]
