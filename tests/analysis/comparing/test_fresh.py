import numpy as np
import pandas as pd
import pytest

from analysis.comparing.fresh import runs_for, subtract_fresh
from analysis.records.runs import by_setting
from analysis.statistics.metrics import METRICS, RELATIVE, find_metric
from tests.support.synthetic import make_run, make_setting
from trainables.usage import UsageError

SGD = make_setting("pairwise", tasks=4)
SAM = {**SGD, "optimizer": "sam", "rho": 0.05}
HARD = np.array([0.99, 0.7, 0.9, 0.8])
"""How well a fresh network does on each task: they differ in difficulty."""


def fresh(setting):
    return {**setting, "intervention": "fresh"}


def found(*runs):
    return by_setting(pd.concat([run.to_pandas() for run in runs], ignore_index=True))


def test_what_is_left_is_what_the_past_has_cost():
    lost = np.array([0, 0.01, 0.02, 0.03])
    runs = [make_run(fresh(SGD), s, accuracy=HARD - s / 100) for s in (0, 1)]
    runs += [make_run(SGD, s, accuracy=HARD - s / 100 - lost) for s in (0, 1)]
    (sgd,) = subtract_fresh(found(*runs))
    assert sgd.matrix == pytest.approx(np.array([-lost, -lost]))
    assert METRICS["accuracy_slope"](sgd.matrix) == pytest.approx([-0.01, -0.01])
    # The stream itself becomes harder, which a plain slope takes for plasticity lost.
    assert METRICS["accuracy_slope"](HARD[None]) < -0.03


def test_a_fresh_network_of_its_own_optimizer_comes_first():
    of_sgd = make_run(fresh(SGD), 0, accuracy=[0.9] * 4)
    of_sam = make_run(fresh(SAM), 0, accuracy=[0.8] * 4)
    sam = make_run(SAM, 0, accuracy=[0.7] * 4)
    (own,) = subtract_fresh(found(sam, of_sgd, of_sam))
    assert own.matrix == pytest.approx(-0.1)
    (other,) = subtract_fresh(found(sam, of_sgd))
    assert other.matrix == pytest.approx(-0.2)


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.1},
        {"batch_size": 32},
        {"epochs": 2},
        {"hidden": "10"},
        {"dataset": "kmnist"},
        {"weight_decay": 0.1},
        {"base": "adam", "beta1": 0.9},
        {"optimizer": "gnp", "rho": 0.05, "alpha": 0.5},
    ],
)
def test_one_that_was_trained_otherwise_is_none(change):
    (sam,) = subtract_fresh(
        found(make_run(SAM, 0), make_run(fresh({**SGD, **change}), 0))
    )
    assert (sam.seeds, sam.unmatched) == ((), (0,))
    assert sam.matrix.shape == (0, 4)


def test_seeds_without_a_fresh_network_are_named():
    runs = [make_run(SGD, s) for s in (0, 1, 2)]
    (sgd,) = subtract_fresh(found(*runs, make_run(fresh(SGD), 1)))
    assert (sgd.seeds, sgd.unmatched, sgd.expected) == ((1,), (0, 2), 3)
    assert len(sgd.matrix) == 1


def test_it_may_be_of_another_study():
    runs = [make_run(SGD, 0, "rho"), make_run(fresh(SGD), 0, "fresh")]
    (sgd,) = subtract_fresh(found(*runs))
    assert (sgd.study, sgd.seeds) == ("rho", (0,))


def test_what_an_intervention_is_told_does_not_count():
    other = {**SGD, "intervention": "shrink"}
    runs = [make_run(other, 0, accuracy=HARD), make_run(fresh(SGD), 0, accuracy=HARD)]
    (shrunk,) = subtract_fresh(found(*runs))
    assert shrunk.matrix == pytest.approx(0)


def test_without_any_it_is_a_mistake_that_says_what_to_do():
    with pytest.raises(
        UsageError, match=r"intervention fresh.*Setting\(..., intervention=Fresh"
    ):
        subtract_fresh(found(make_run(SGD, 0)))


def test_only_a_relative_metric_needs_them():
    frame = make_run(SGD, 0, accuracy=HARD).to_pandas()
    (plain,) = runs_for(frame, find_metric("plasticity_loss"))
    assert plain.matrix[0] == pytest.approx(HARD)


def test_every_metric_has_a_relative_one_of_the_same_direction():
    for name, metric in METRICS.items():
        relative = RELATIVE[f"relative_{name}"]
        assert (relative.function, relative.higher) == (metric.function, metric.higher)
        assert (relative.relative, metric.relative) == (True, False)


def test_an_unknown_metric_offers_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'relative_mean_accuracy'"):
        find_metric("relative_mean_acuracy")
