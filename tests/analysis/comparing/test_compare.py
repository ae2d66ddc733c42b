import numpy as np
import pandas as pd
import pytest

from analysis.comparing.compare import Question, best_settings, compare, confirm
from analysis.comparing.winners import common_seeds, winner
from analysis.records.runs import by_setting
from analysis.statistics.metrics import DEFAULT, MEASURES, METRICS, find_metric
from analysis.statistics.paired import holm, paired_difference
from analysis.statistics.power import detectable_effect
from tests.support.synthetic import frame, hash_of, make_run, make_setting
from trainables.usage import UsageError

SGD = make_setting(tasks=4)
FAST = {**SGD, "lr": 0.1}
SAM = {**SGD, "optimizer": "sam", "rho": 0.05}
WIDE = {**SAM, "rho": 0.2}
GNP = {**SGD, "optimizer": "gnp", "rho": 0.05, "alpha": 0.7}


def level(setting, seed, mean, spread=0.01):
    """Return a run of nearly constant accuracy; the same seed has the same luck."""
    luck = np.random.default_rng([seed, 1]).normal(0, 0.05)
    own = np.random.default_rng([seed, int(hash_of(setting), 16)]).normal(0, spread, 4)
    return make_run(setting, seed, accuracy=mean + luck + own)


def levels(seeds=range(6), spread=0.01, **means):
    settings = {"sgd": SGD, "fast": FAST, "sam": SAM, "wide": WIDE, "gnp": GNP}
    return frame(
        *(level(settings[k], s, m, spread) for k, m in means.items() for s in seeds)
    )


def ask(records, metric="mean_accuracy", **question):
    return compare(records, Question(metric=METRICS[metric], **question))


def row(data, setting, against="matched"):
    mine = data[(data["setting_id"] == hash_of(setting)) & (data["against"] == against)]
    (found,) = mine.to_dict("records")
    return found


def test_a_row_has_the_paired_difference():
    records = levels(sgd=0.7, sam=0.8, spread=0.003)
    found = row(ask(records), SAM)
    sgd, sam = (METRICS["mean_accuracy"](r.matrix) for r in by_setting(records))
    expected = paired_difference(sam, sgd)
    for name in ("lo", "hi", "p", "effect"):
        assert found[name] == float(getattr(expected, name))
    assert found["difference"] == float(expected.mean)
    assert found["sd"] == pytest.approx((sam - sgd).std(ddof=1))
    assert (found["mean"], found["baseline_mean"]) == (sam.mean(), sgd.mean())
    assert (found["pairs"], found["verdict"]) == (6, "better")
    assert found["baseline_id"] == hash_of(SGD)
    # Seeds differ by far more than settings: unpaired nothing could be told.
    assert sgd.std() > 2 * (sam - sgd).std()


def test_without_a_question_the_level_late_in_the_stream_is_compared():
    records = levels(sgd=0.7, sam=0.8)
    data = compare(records)
    assert set(data["metric"]) == {"late_accuracy"}
    assert data.equals(ask(records, "late_accuracy", baseline="sgd", margin=0.005))


def test_a_trend_has_the_level_beside_it_and_a_level_the_trend():
    falling = [make_run(SGD, s, accuracy=[0.9, 0.8, 0.7, 0.6 + s / 99]) for s in (0, 1)]
    flat = [make_run(SAM, s, accuracy=[0.9, 0.9, 0.9, 0.9]) for s in (0, 1)]
    records = frame(*falling, *flat)
    for metric, sign, beside in (
        ("plasticity_loss", -1, 0.3 - 0.5 / 99),  # the late level of SAM less SGD's
        ("accuracy_change", 1, 0.3 - 0.5 / 99),
        ("late_accuracy", 1, 3 * (0.1 - 0.15 / 99)),  # the slope over the stream
    ):
        found = row(ask(records, metric), SAM)
        assert (np.sign(found["difference"]), found["verdict"]) == (sign, "better")
        assert found["beside"] == pytest.approx(beside)


def test_the_baseline_has_the_same_rate_or_is_the_best():
    data = ask(levels(sgd=0.7, fast=0.8, sam=0.75))
    assert row(data, SAM)["baseline_id"] == hash_of(SGD)
    assert row(data, SAM)["verdict"] == "better"
    assert row(data, SAM, "best")["baseline_id"] == hash_of(FAST)
    assert row(data, SAM, "best")["verdict"] == "worse"
    assert set(data["setting_id"]) == {hash_of(SAM)}


def test_one_half_of_the_seeds_chooses_the_best_baseline_and_the_other_judges():
    records = levels(sgd=0.7, fast=0.7, sam=0.75)
    fast = (records["setting_id"] == hash_of(FAST)) & records["test_accuracy"].notna()
    for half, best in ((1, FAST), (0, SGD)):
        change = np.where(fast & (records["seed"] % 2 == half), 0.2, -0.1 * fast)
        data = ask(records.assign(test_accuracy=records["test_accuracy"] + change))
        # Seeds 1, 3 and 5 choose, whatever happened with the others.
        assert row(data, SAM, "best")["baseline_id"] == hash_of(best)
        assert row(data, SAM, "best")["paired_seeds"] == "0 2 4"
        assert row(data, SAM)["paired_seeds"] == "0 1 2 3 4 5"


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
        {"base": "adam"},
    ],
)
def test_all_else_must_be_equal(change):
    other = {**SAM, **change}
    records = frame(*(level(k, s, 0.7) for k in (SGD, other) for s in range(3)))
    found = row(compare(records), other)
    assert (found["pairs"], found["verdict"]) == (0, "n/a")
    assert pd.isna([found["baseline_id"], found["difference"]]).all()


def test_two_baselines_with_all_else_equal_are_none():
    """SAM does not say which of two SGDs it is to be compared with."""
    nameless = {**SGD, "eta": 0.5}
    records = frame(*(level(k, s, 0.7) for k in (SGD, nameless, SAM) for s in range(3)))
    assert pd.isna(row(compare(records), SAM)["baseline_id"])


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
    data = ask(records, baseline="none")
    assert row(data, shrunk)["baseline_id"] == hash_of(SAM)
    assert set(data["setting_id"]) == {hash_of(shrunk)}


def test_an_unknown_baseline_is_a_mistake():
    with pytest.raises(UsageError, match=r"unknown baseline 'sdg': did you mean 'sgd'"):
        ask(levels(sgd=0.7, sam=0.7), baseline="sdg")


def test_seeds_that_one_lacks_are_named_and_not_compared():
    lacking = frame(
        *(level(SGD, s, 0.7) for s in (0, 1, 2, 3)),
        *(level(SAM, s, 0.8) for s in (1, 2)),
        level(SAM, 3, 0.8).slice(0, 2),
    )
    found = row(ask(lacking), SAM)
    assert (found["pairs"], found["paired_seeds"]) == (2, "1 2")
    assert found["missing_seeds"] == "0 3"


def test_what_diverged_is_named_and_not_tested():
    lost = make_run(SAM, 0, diverged_at=1)
    runs = [level(SGD, s, 0.7) for s in range(5)] + [
        level(SAM, s, 0.9) for s in range(1, 5)
    ]
    found = row(ask(frame(*runs, lost)), SAM)
    assert (found["verdict"], found["diverged_seeds"]) == ("diverged", "0")
    assert found["difference"] > 0.1
    assert np.isnan([found["p"], found["p_holm"]]).all()
    turned = frame(*runs[1:5], *runs[5:], make_run(SGD, 0, diverged_at=1))
    found = row(ask(turned), SAM)
    assert (found["verdict"], found["baseline_diverged_seeds"]) == ("diverged", "0")


def test_a_baseline_that_diverged_is_not_the_best():
    runs = levels(sgd=0.7, sam=0.8)
    good = [level(FAST, s, 0.9) for s in range(5)]
    data = compare(pd.concat([runs, frame(*good, make_run(FAST, 5, diverged_at=0))]))
    assert row(data, SAM, "best")["baseline_id"] == hash_of(SGD)


def test_p_is_corrected_for_all_tests_of_a_study_and_problem():
    data = ask(levels(sgd=0.7, sam=0.702, wide=0.703))
    # Against the best SGD one half of the seeds is compared: another test.
    assert data["tests"].tolist() == [4] * 4
    assert data["p_holm"].tolist() == holm(data["p"]).tolist()


def test_the_detectable_difference_is_that_of_the_family():
    for each in ask(levels(sgd=0.7, sam=0.702, wide=0.703)).to_dict("records"):
        expected = each["sd"] * detectable_effect(each["pairs"], 4)
        assert each["detectable"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("records", "pairs"),
    [
        (levels(seeds=[0], sgd=0.7, sam=0.8), 1),
        (
            frame(
                *(
                    make_run(k, s, accuracy=[mean] * 4)
                    for k, mean in ((SGD, 0.5), (SAM, 0.501))
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
    found = row(ask(records), SAM)
    assert found["pairs"] == pairs
    assert found["verdict"] == ("diverged" if not pairs else "n/a")
    assert np.isnan(found["p_holm"])


@pytest.mark.parametrize("metric", ["late_accuracy", "accuracy_slope"])
def test_runs_that_are_equal_with_every_seed_are_the_same(metric):
    runs = [level(SGD, seed, 0.7) for seed in (0, 1)]
    copies = [make_run(SAM, s, accuracy=r["test_accuracy"]) for s, r in enumerate(runs)]
    found = row(ask(frame(*runs, *copies), metric), SAM)
    assert (found["difference"], found["verdict"]) == (0, "the same")
    assert np.isnan(found["p_holm"])
    # one pair shows nothing
    found = row(ask(frame(runs[0], copies[0]), metric), SAM)
    assert (found["difference"], found["verdict"]) == (0, "n/a")


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


def test_the_best_are_confirmed_on_seeds_that_did_not_choose_them():
    data = confirm(with_confirmed())
    assert data["against"].tolist() == ["choosing", "confirming"]
    assert data["metric"].tolist() == ["late_accuracy"] * 2
    assert data["paired_seeds"].tolist() == ["0 1 2 3 4 5", "6 7 8 9"]
    assert set(data["setting_id"]) == {hash_of(SAM)}
    assert set(data["baseline_id"]) == {hash_of(FAST)}
    chose, confirmed = data.to_dict("records")
    assert chose["difference"] == pytest.approx(0.08, abs=0.03)
    assert confirmed["difference"] == pytest.approx(0.03, abs=0.03)
    assert np.isnan([chose["p"], chose["p_holm"]]).all()
    assert confirmed["p_holm"] == confirmed["p"]


def test_seeds_that_confirm_are_left_out_of_the_comparison_and_not_missed():
    records = with_confirmed()
    data = ask(records)
    assert set(data["paired_seeds"]) == {"0 1 2 3 4 5", "0 2 4"}
    assert set(data["missing_seeds"]) == {""}
    extra = {runs.setting_id: runs.extra for runs in by_setting(records) if runs.extra}
    assert extra == dict.fromkeys((hash_of(SAM), hash_of(FAST)), (6, 7, 8, 9))


def test_without_such_seeds_one_half_chooses_and_the_other_judges():
    data = confirm(levels(sgd=0.7, sam=0.8))
    assert data["against"].tolist() == ["choosing", "held out"]
    assert data["paired_seeds"].tolist() == ["1 3 5", "0 2 4"]
    assert data["verdict"].tolist() == ["n/a", "better"]


def test_a_run_that_is_missing_elsewhere_does_not_turn_its_seed_into_a_judge():
    """Seed 5 is one of the study's, although one setting has not run it yet."""
    records = levels(sgd=0.7, fast=0.5, sam=0.8)
    late = (records["setting_id"] == hash_of(FAST)) & (records["seed"] == 5)
    data = confirm(records[~late])
    assert data["against"].tolist() == ["choosing", "held out"]
    assert data["paired_seeds"].tolist() == ["1 3", "0 2 4"]


def test_each_method_has_its_own_best_setting():
    quick = {**GNP, "lr": 0.1}
    more = [level(quick, s, 0.85) for s in range(6)]
    records = pd.concat(
        [levels(sgd=0.7, fast=0.6, sam=0.8, wide=0.75, gnp=0.65), frame(*more)]
    )
    data = confirm(records)
    judged = data[data["against"] == "held out"]
    assert judged["setting_id"].tolist() == [hash_of(SAM), hash_of(quick)]
    assert set(judged["baseline_id"]) == {hash_of(SGD)}
    # SAM and GNP are two tests.
    assert judged["tests"].tolist() == [2, 2]
    expected = [hash_of(SAM), hash_of(SGD), hash_of(quick)]
    assert best_settings(records) == {"permuted": expected}


def test_without_sgd_the_best_of_each_method_is_confirmed():
    fresh = {**GNP, "intervention": "fresh"}
    adam = {**SAM, "base": "adam", "lr": 0.001}
    means = ((SAM, 0.7), (WIDE, 0.8), (GNP, 0.6), (adam, 0.5), (fresh, 0.9))
    records = frame(*(level(k, s, m) for k, m in means for s in (0, 1)))
    expected = [hash_of(WIDE), hash_of(adam), hash_of(GNP)]
    assert best_settings(records) == {"permuted": expected}
    # one method has nothing to be compared with
    sam = records[records["setting_id"].isin([hash_of(SAM), hash_of(WIDE)])]
    assert best_settings(sam) == {"permuted": []}
    # a stream with SGD is compared with SGD
    other = [level(make_setting("pairwise", tasks=4), 0, 0.7)]
    both = pd.concat([records, frame(*other)], ignore_index=True)
    assert best_settings(both) == {"permuted": expected, "pairwise": []}


def test_where_all_diverged_there_is_no_winner():
    lost = frame(*(make_run(k, s, diverged_at=0) for k in (SGD, SAM) for s in (0, 1)))
    assert confirm(lost).empty
    assert best_settings(lost) == {"permuted": []}


@pytest.mark.parametrize("measure", MEASURES)
def test_a_question_has_the_margin_of_its_measure(measure):
    question = Question(metric=find_metric(DEFAULT, measure))
    assert question.margin == MEASURES[measure].margin
