"""What the verdicts promise, tried on simulated studies.

`python -m tests.analysis.comparing.test_promises 1000` prints the table of the
documentation; the tests use fewer studies.
"""

import itertools
import sys

import numpy as np
import pytest
from scipy import stats

from analysis.comparing.chance import at_chance, chance_level
from analysis.comparing.compare import Question, compare, compare_and_confirm, confirm
from analysis.records.runs import by_setting
from analysis.statistics.metrics import METRICS
from tests.support.synthetic import make_frame, make_setting

TASKS = 10
SGD = make_setting(tasks=TASKS)
SAM = {**SGD, "optimizer": "sam", "rho": 0.05}
DIFFERENT = ["better", "worse"]


def rates(count):
    return [0.001 * 1.3**i for i in range(count)]


def equal_settings(rng, baselines, seeds):
    """Return a study of SGD and SAM at several rates, without any difference."""
    luck = rng.normal(0, 0.02, (seeds, 1))
    settings = [{**kind, "lr": lr} for lr in rates(baselines) for kind in (SGD, SAM)]
    return make_frame(
        (s, 0.9 + luck + rng.normal(0, 0.01, (seeds, TASKS))) for s in settings
    )


def simulate(baselines, seeds, studies):
    """Return family-wise errors, raw p against the best baseline, and coverage."""
    rng = np.random.default_rng([baselines, seeds])
    errors, method_errors, raw, covered = [], [], [], []
    for _ in range(studies):
        records = equal_settings(rng, baselines, seeds)
        data, methods = compare_and_confirm(records, Question())
        errors.append(data["verdict"].isin(DIFFERENT).any())
        best = data[data["against"] == "best"].iloc[0]
        raw.append(best["p"])
        covered += [best["lo"] <= 0 <= best["hi"]]
        matched = data[data["against"] == "matched"].iloc[0]
        covered += [matched["lo"] <= 0 <= matched["hi"]]
        method_errors.append(methods["verdict"].isin(DIFFERENT).any())
    return (
        np.mean(errors),
        np.mean(method_errors),
        np.array(raw, dtype=float),
        np.mean(covered),
    )


CASES = [*itertools.product((1, 5, 24), (3, 5, 10))]
MANY = [
    pytest.param(*case, 20 if case[0] == 24 else 100, marks=pytest.mark.chaos)
    for case in CASES
]


@pytest.mark.parametrize(("baselines", "seeds", "studies"), [(5, 5, 20), *MANY])
def test_without_an_effect_errors_are_as_rare_as_promised(baselines, seeds, studies):
    errors, method_errors, raw, covered = simulate(baselines, seeds, studies)
    noise = 3 * np.sqrt(0.05 * 0.95 / studies)
    assert errors <= 0.06 + noise
    assert method_errors <= 0.06 + noise
    assert stats.kstest(raw[~np.isnan(raw)], "uniform").pvalue > 0.001
    assert abs(covered - 0.95) < 0.02 + noise


def trajectories(start, end, seeds=8, noise=0.004):
    rng = np.random.default_rng([round(1e6 * start), round(1e6 * end)])
    return np.linspace(start, end, TASKS) + rng.normal(0, noise, (seeds, TASKS))


@pytest.mark.parametrize(
    "metric", ["late_accuracy", "plasticity_loss", "accuracy_slope"]
)
@pytest.mark.parametrize(
    ("start", "end"),
    [(0.1, 0.1), (0.3, 0.5), (0.85, 0.85)],
    ids=["dead", "slow", "flat but low"],
)
def test_what_learns_less_is_never_better(metric, start, end):
    records = make_frame(
        [(SGD, trajectories(0.95, 0.9)), (SAM, trajectories(start, end))]
    )
    question = Question(metric=METRICS[metric])
    verdicts = {
        *compare(records, question)["verdict"],
        *confirm(records, question)["verdict"],
    }
    assert "better" not in verdicts
    assert verdicts & {"worse", "flatter but lower"}


@pytest.mark.parametrize("metric", ["late_accuracy", "plasticity_loss"])
def test_networks_that_learn_no_more_than_chance_are_not_compared(metric):
    """They differ significantly; one that learned once and lost it is compared."""
    question, dead = Question(metric=METRICS[metric]), trajectories(0.1, 0.11)
    data = compare(make_frame([(SGD, trajectories(0.1, 0.1)), (SAM, dead)]), question)
    assert set(data["verdict"]) == {"at chance"}
    assert data["p_holm"].isna().all()
    data = compare(make_frame([(SGD, trajectories(0.9, 0.1)), (SAM, dead)]), question)
    assert "at chance" not in set(data["verdict"])


def test_what_chance_is():
    def is_at_chance(level, measure="test_accuracy", **changes):
        records = make_frame([({**SGD, **changes}, trajectories(level, level))])
        records[measure] = records["test_accuracy"]
        (runs,) = by_setting(records, measure)
        return at_chance(runs, measure)

    assert is_at_chance(0.1)
    assert not is_at_chance(0.14)
    assert is_at_chance(0.52, problem="pairwise")
    assert not is_at_chance(0.62, problem="pairwise")
    assert is_at_chance(2.3, "train_loss")
    assert not is_at_chance(2.0, "train_loss")
    assert not is_at_chance(0.1, problem="imported")
    assert is_at_chance(0.9, "value_error", problem="td")
    assert not is_at_chance(0.8, "value_error", problem="td")
    assert is_at_chance(25, "mean_return", problem="cartpole")
    assert not is_at_chance(26, "mean_return", problem="cartpole")
    assert is_at_chance(25, "last_return", problem="cartpole")
    assert not is_at_chance(0.1, problem="td")
    assert chance_level({"problem": "acrobot"}, "mean_return", 1.15) == -398 / 1.15


def test_a_flatter_trend_at_an_equal_level_is_better():
    records = make_frame(
        [(SGD, trajectories(0.95, 0.9)), (SAM, trajectories(0.93, 0.92))]
    )
    data = compare(records, Question(metric=METRICS["plasticity_loss"]))
    assert set(data["verdict"]) == {"better"}


def test_undecided_is_not_the_same():
    noisy = make_frame(
        [(SGD, trajectories(0.9, 0.9, 3, 0.1)), (SAM, trajectories(0.9, 0.9, 3, 0.11))]
    )
    assert set(compare(noisy)["verdict"]) == {"undecided"}
    equal = make_frame(
        [
            (SGD, trajectories(0.9, 0.9, 10, 1e-3)),
            (SAM, trajectories(0.9, 0.9001, 10, 1e-3)),
        ]
    )
    (matched, _) = compare(equal).to_dict("records")
    assert matched["verdict"] == "the same"


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print("baselines seeds  settings  methods  raw p < 0.05  KS p  covered")
    for baselines, seeds in CASES:
        errors, method_errors, raw, covered = simulate(baselines, seeds, count)
        raw = raw[~np.isnan(raw)]
        ks = stats.kstest(raw, "uniform").pvalue if len(raw) else np.nan
        below = np.mean(raw < 0.05) if len(raw) else np.nan
        print(
            f"{baselines:9d} {seeds:5d}  {errors:8.3f}  {method_errors:7.3f}  "
            f"{below:12.3f}  {ks:4.2f}  {covered:7.3f}",
            flush=True,
        )
