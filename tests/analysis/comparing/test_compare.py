import numpy as np
import pandas as pd
import pytest

from analysis.comparing.compare import best_settings, compare, confirm
from analysis.comparing.winners import common_seeds, winner
from analysis.records.runs import by_setting
from analysis.statistics.metrics import METRICS
from analysis.statistics.paired import holm, paired_difference
from tests.support.synthetic import hash_of, make_run, make_setting
from trainables.usage import UsageError

SGD = make_setting(tasks=4)
FAST = {**SGD, "lr": 0.1}
SAM = {**SGD, "optimizer": "sam", "rho": 0.05}
WIDE = {**SAM, "rho": 0.2}


def frame(*runs):
    return pd.concat([run.to_pandas() for run in runs], ignore_index=True)


def level(setting, seed, mean, spread=0.01):
    """Return a run of nearly constant accuracy; the same seed has the same luck."""
    luck = np.random.default_rng([seed, 1]).normal(0, 0.05)
    own = np.random.default_rng([seed, int(hash_of(setting), 16)]).normal(0, spread, 4)
    return make_run(setting, seed, accuracy=mean + luck + own)


def levels(seeds=range(6), spread=0.01, **means):
    settings = {"sgd": SGD, "fast": FAST, "sam": SAM, "wide": WIDE}
    return frame(
        *(level(settings[k], s, m, spread) for k, m in means.items() for s in seeds)
    )


def row(data, setting, against="matched"):
    mine = data[(data["setting_id"] == hash_of(setting)) & (data["against"] == against)]
    (found,) = mine.to_dict("records")
    return found


def test_a_row_has_the_paired_difference():
    records = levels(sgd=0.7, sam=0.8)
    found = row(compare(records, METRICS["mean_accuracy"]), SAM)
    sgd, sam = (METRICS["mean_accuracy"](r.matrix) for r in by_setting(records))
    expected = paired_difference(sam, sgd)
    for name in ("lo", "hi", "p", "effect"):
        assert found[name] == float(getattr(expected, name))
    assert found["difference"] == float(expected.mean)
    assert (found["mean"], found["baseline_mean"]) == (sam.mean(), sgd.mean())
    assert (found["pairs"], found["verdict"]) == (6, "better")
    assert found["baseline_id"] == hash_of(SGD)
    # Seeds differ by far more than settings: unpaired nothing could be told.
    assert sgd.std() > 2 * (sam - sgd).std()


def test_what_is_better_depends_on_the_metric():
    falling = [make_run(SGD, s, accuracy=[0.9, 0.8, 0.7, 0.6 + s / 99]) for s in (0, 1)]
    flat = [make_run(SAM, s, accuracy=[0.9, 0.9, 0.9, 0.9]) for s in (0, 1)]
    for metric in ("plasticity_loss", "accuracy_change"):
        found = row(compare(frame(*falling, *flat), METRICS[metric]), SAM)
        sign = np.sign(found["difference"])
        assert (sign, found["verdict"]) == (
            (-1, "better") if metric == "plasticity_loss" else (1, "better")
        )


def test_the_baseline_has_the_same_rate_or_is_the_best():
    data = compare(levels(sgd=0.7, fast=0.8, sam=0.75), METRICS["mean_accuracy"])
    assert row(data, SAM)["baseline_id"] == hash_of(SGD)
    assert row(data, SAM)["verdict"] == "better"
    assert row(data, SAM, "best")["baseline_id"] == hash_of(FAST)
    assert row(data, SAM, "best")["verdict"] == "worse"
    assert set(data["setting_id"]) == {hash_of(SAM)}


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.5},
        {"momentum": 0.9},
        {"weight_decay": 0.1},
        {"hidden": "10"},
        {"batch_size": 99},
        {"intervention": "shrink"},
        {"dataset": "kmnist"},
    ],
)
def test_all_else_must_be_equal(change):
    other = {**SAM, **change}
    records = frame(*(level(k, s, 0.7) for k in (SGD, other) for s in range(3)))
    found = row(compare(records), other)
    assert (found["pairs"], found["verdict"]) == (0, "n/a")
    assert pd.isna([found["baseline_id"], found["difference"]]).all()


def test_the_best_baseline_has_the_same_network_and_intervention():
    shrunk = {**SAM, "intervention": "shrink"}
    base = {**FAST, "intervention": "shrink"}
    settings = {0.9: SGD, 0.7: base, 0.8: shrunk}
    records = frame(*(level(k, s, m) for m, k in settings.items() for s in range(4)))
    assert row(compare(records), shrunk, "best")["baseline_id"] == hash_of(base)


def test_the_baseline_can_be_the_lack_of_an_intervention():
    shrunk = {**SAM, "intervention": "shrink"}
    settings = (SGD, SAM, shrunk)
    records = frame(*(level(k, s, 0.7) for k in settings for s in range(4)))
    data = compare(records, baseline="none")
    assert row(data, shrunk)["baseline_id"] == hash_of(SAM)
    assert set(data["setting_id"]) == {hash_of(shrunk)}


def test_an_unknown_baseline_is_a_mistake():
    with pytest.raises(UsageError, match=r"unknown baseline 'sdg': did you mean 'sgd'"):
        compare(levels(sgd=0.7, sam=0.7), baseline="sdg")


def test_seeds_that_one_lacks_are_named_and_not_compared():
    lacking = frame(
        *(level(SGD, s, 0.7) for s in (0, 1, 2, 3)),
        *(level(SAM, s, 0.8) for s in (1, 2)),
        level(SAM, 3, 0.8).slice(0, 2),
    )
    found = row(compare(lacking, METRICS["mean_accuracy"]), SAM)
    assert (found["pairs"], found["paired_seeds"]) == (2, "1 2")
    assert found["missing_seeds"] == "0 3"


def test_what_diverged_is_named_and_not_tested():
    lost = make_run(SAM, 0, diverged_at=1)
    runs = [level(SGD, s, 0.7) for s in range(5)] + [
        level(SAM, s, 0.9) for s in range(1, 5)
    ]
    found = row(compare(frame(*runs, lost), METRICS["mean_accuracy"]), SAM)
    assert (found["verdict"], found["diverged_seeds"]) == ("diverged", "0")
    assert found["difference"] > 0.1
    assert np.isnan([found["p"], found["p_holm"]]).all()
    turned = frame(*runs[1:5], *runs[5:], make_run(SGD, 0, diverged_at=1))
    found = row(compare(turned, METRICS["mean_accuracy"]), SAM)
    assert (found["verdict"], found["baseline_diverged_seeds"]) == ("diverged", "0")


def test_a_baseline_that_diverged_is_not_the_best():
    runs = levels(sgd=0.7, sam=0.8)
    good = [level(FAST, s, 0.9) for s in range(5)]
    data = compare(pd.concat([runs, frame(*good, make_run(FAST, 5, diverged_at=0))]))
    assert row(data, SAM, "best")["baseline_id"] == hash_of(SGD)


def test_p_is_corrected_over_different_pairs():
    data = compare(levels(sgd=0.7, sam=0.702, wide=0.703), METRICS["mean_accuracy"])
    # the only SGD is the best one too: four rows, two tests
    assert len(data) == 4
    matched = data[data["against"] == "matched"]
    assert matched["p_holm"].tolist() == holm(matched["p"]).tolist()
    both = data.groupby("setting_id")["p_holm"].nunique()
    assert both.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("records", "pairs"),
    [
        (levels(seeds=[0], sgd=0.7, sam=0.8), 1),
        (
            frame(
                *(
                    make_run(k, s, accuracy=[0.5] * 4)
                    for k in (SGD, SAM)
                    for s in (0, 1)
                )
            ),
            2,
        ),
        (
            frame(*(make_run(k, s, diverged_at=0) for k in (SGD, SAM) for s in (0, 1))),
            0,
        ),
    ],
    ids=["one seed", "constant", "all diverged"],
)
def test_where_nothing_can_be_tested_nothing_is(records, pairs):
    found = row(compare(records, METRICS["mean_accuracy"]), SAM)
    assert found["pairs"] == pairs
    assert found["verdict"] == ("diverged" if not pairs else "n/a")
    assert np.isnan(found["p_holm"])


def test_the_winner_is_the_best_that_is_whole():
    records = levels(sgd=0.7, fast=0.95, sam=0.8, wide=0.75)
    records = records[
        ~((records["setting_id"] == hash_of(FAST)) & (records["seed"] == 5))
    ]
    found = by_setting(records)
    metric = METRICS["mean_accuracy"]
    assert winner(found, metric, range(6)).setting == SAM
    assert winner(found, metric, range(5)).setting == FAST
    assert winner(found, metric, ()) is None
    assert winner(found, metric, [77]) is None
    assert [*common_seeds(found).values()] == [set(range(5))]


def test_lower_wins_where_lower_is_better():
    falling = make_run(SGD, 0, accuracy=[0.9, 0.8, 0.7, 0.6])
    found = by_setting(frame(falling, make_run(SAM, 0, accuracy=[0.5] * 4)))
    assert winner(found, METRICS["plasticity_loss"], [0]).setting == SAM
    assert winner(found, METRICS["mean_accuracy"], [0]).setting == SGD


def test_a_network_that_is_reset_cannot_win():
    fresh = {**SAM, "intervention": "fresh"}
    records = frame(
        *(
            level(k, s, m)
            for k, m in ((SGD, 0.7), (SAM, 0.8), (fresh, 0.9))
            for s in (0, 1)
        )
    )
    assert best_settings(records) == {"permuted": [hash_of(SAM), hash_of(SGD)]}


def with_confirmed(extra=range(6, 10), **means):
    """Return records in which the two best have seeds that the others lack."""
    records = levels(sgd=0.7, fast=0.72, sam=0.8, wide=0.76, spread=0.02)
    more = [level(k, s, m) for k, m in ((SAM, 0.75), (FAST, 0.72)) for s in extra]
    rest = [
        make_run({**SAM, "rho": r}, s, accuracy=[0.5, 0.51, 0.5, 0.49 - s / 999])
        for r in (0.3, 0.4)
        for s in range(6)
    ]
    return pd.concat([records, frame(*rest, *more)], ignore_index=True)


def test_the_best_are_chosen_by_problem_on_seeds_that_all_have():
    records = with_confirmed()
    expected = {"permuted": [hash_of(SAM), hash_of(FAST)]}
    assert best_settings(records) == expected
    before = records[records["seed"] < 6]
    assert best_settings(before) == expected
    other = make_setting("pairwise", tasks=4)
    both = pd.concat([records, frame(make_run(other, 0))], ignore_index=True)
    assert best_settings(both) == expected | {"pairwise": []}


def test_the_winner_is_confirmed_on_seeds_that_did_not_choose_it():
    data = confirm(with_confirmed())
    assert data["metric"].tolist() == ["mean_accuracy"] * 2 + ["plasticity_loss"] * 2
    assert data["paired_seeds"].tolist() == ["0 1 2 3 4 5", "6 7 8 9"] * 2
    assert set(data["setting_id"]) == {hash_of(SAM)}
    assert set(data["baseline_id"]) == {hash_of(FAST)}
    chose, confirmed = data.to_dict("records")[:2]
    assert chose["difference"] == pytest.approx(0.08, abs=0.02)
    assert confirmed["difference"] == pytest.approx(0.03, abs=0.02)
    assert np.isnan([chose["p"], chose["p_holm"]]).all()
    assert confirmed["p_holm"] == pytest.approx(holm(data["p"])[1])


def test_seeds_that_confirm_are_left_out_of_the_comparison_and_not_missed():
    records = with_confirmed()
    data = compare(records, METRICS["mean_accuracy"])
    assert set(data["paired_seeds"]) == {"0 1 2 3 4 5"}
    assert set(data["missing_seeds"]) == {""}
    extra = {runs.setting_id: runs.extra for runs in by_setting(records) if runs.extra}
    assert extra == dict.fromkeys((hash_of(SAM), hash_of(FAST)), (6, 7, 8, 9))


def test_without_such_seeds_nothing_is_confirmed():
    data = confirm(levels(sgd=0.7, sam=0.8))
    assert data.loc[data["against"] == "confirming", "pairs"].tolist() == [0, 0]
    assert set(data.loc[data["against"] == "confirming", "verdict"]) == {"n/a"}


def test_where_all_diverged_there_is_no_winner():
    lost = frame(*(make_run(k, s, diverged_at=0) for k in (SGD, SAM) for s in (0, 1)))
    assert confirm(lost).empty
    assert best_settings(lost) == {"permuted": []}
