"""Verdicts that were wrong once: a false conclusion that a reader could have drawn."""

import numpy as np
import pandas as pd
import pytest

from analysis.comparing.compare import (
    MARGIN,
    Question,
    best_settings,
    compare,
    confirm,
)
from analysis.comparing.fresh import runs_for
from analysis.figures.rho import rho_grid
from analysis.records.load import load
from analysis.records.runs import by_setting, plain_rows
from analysis.statistics.metrics import METRICS, find_metric
from analysis.tables.accuracy import accuracy_table
from tests.support.synthetic import hash_of, make_frame, make_setting, write
from tests.support.synthetic_rho import accuracy_of, rho_runs, rho_settings
from tests.support.synthetic_rho import confirm as add_seeds

TASKS = 10
SGD = make_setting(tasks=TASKS)
SAM = {**SGD, "optimizer": "sam", "rho": 0.05}
GNP = {**SGD, "optimizer": "gnp", "rho": 0.05, "alpha": 0.7}
ADAM = {"base": "adam", "beta1": 0.9, "beta2": 0.999, "adam_eps": 1e-8}
REDO = {"intervention": "redo", "redo_tau": 0.1, "redo_every": 1}
DECAY = {"weight_decay": 0.001}
FRESH = {"intervention": "fresh"}


def runs_at(level, *key, seeds=6, noise=0.005):
    """Return accuracies about a level, shape (seeds, TASKS); `key` seeds the noise."""
    rng = np.random.default_rng([*map(ord, str(key)), int(level * 1000)])
    return level + rng.normal(0, noise, (seeds, TASKS))


def study(levels, name="paper", **options):
    """Return records of settings, given as pairs of a setting and its accuracy."""
    pairs = [(s, runs_at(level, hash_of(s), **options)) for s, level in levels]
    return make_frame(pairs, name)


def partners(data, against="matched"):
    """Return the baseline_id of each setting_id, or None."""
    rows = plain_rows(data[data["against"] == against])
    return {row["setting_id"]: row["baseline_id"] for row in rows}


# 1. A network that never learns has nothing to lose.


@pytest.fixture(scope="module")
def sweep():
    """A sweep of rho in which a large rho learns less, and so loses less."""
    pairs = [
        (setting, np.stack([accuracy_of(setting, seed) for seed in range(10)]))
        for setting in rho_settings("permuted", tasks=20)
    ]
    return make_frame(pairs, "rho")


@pytest.mark.parametrize(
    "metric",
    ["late_accuracy", "plasticity_loss", "peak_loss", "accuracy_slope"],
)
def test_no_setting_with_a_lower_level_is_better(sweep, metric):
    data = compare(sweep, Question(metric=METRICS[metric]))
    late = {r.setting_id: METRICS["late_accuracy"](r.matrix) for r in by_setting(sweep)}
    below, better = [], []
    for row in data[data["baseline_id"].notna()].to_dict("records"):
        seeds = [int(seed) for seed in row["paired_seeds"].split()]
        own, other = late[row["setting_id"]], late[row["baseline_id"]]
        level = (own[seeds] - other[seeds]).mean()
        (better if row["verdict"] == "better" else below).append(level)
    assert len(better) > 10
    assert min(better) > -MARGIN
    if METRICS[metric].trend:
        # Of the others many are flatter too, but lower.
        assert data["verdict"].value_counts()["flatter but lower"] > 10


def test_a_dead_network_has_no_ring_and_does_not_win(sweep):
    dead = [({**SAM, "tasks": 20, "rho": 9.0}, np.full((10, 20), 0.1))]
    frame = pd.concat([sweep, make_frame(dead, "rho")], ignore_index=True)
    late = frame[frame["task"] >= 18].groupby("setting_id")["test_accuracy"].mean()
    for metric in ("late_accuracy", "plasticity_loss", "accuracy_slope"):
        grid = rho_grid(frame, [metric])
        assert grid.loc[grid["best"], "setting_id"].tolist() == [late.idxmax()]
    for metric in ("late_accuracy", "plasticity_loss"):
        winners = confirm(frame, Question(metric=METRICS[metric]))
        assert late[[*winners["setting_id"], *winners["baseline_id"]]].min() > 0.8


# 2. "All else equal" has no wild cards.


def test_a_null_base_does_not_match_adam():
    data = compare(study([(SGD, 0.8), ({**SAM, **ADAM}, 0.9)]))
    assert data["baseline_id"].isna().all()
    assert set(data["verdict"]) == {"n/a"}


VALUES = {
    **{"activation": "tanh", "initialization": "pytorch", "examples": 100},
    **{"input_low": -1.0, "normalization": "dataset", "pixel_share": 0.5},
    **{"network": "conv", "conv_channels": "8-16"},
}
"""Values of columns in which null is a value too: ReLU, all examples, and so on."""


@pytest.mark.parametrize("name", VALUES)
def test_a_null_of_the_stream_or_the_network_is_a_value(name):
    other = {name: VALUES[name]}
    data = compare(study([(SGD, 0.8), ({**SAM, **other}, 0.9)], seeds=2))
    assert data["baseline_id"].isna().all()
    # Nor has the remedy two baselines, one of each network.
    settings = [SGD, {**SGD, **other}, {**SGD, **REDO}, {**SGD, **REDO, **other}]
    records = study([(setting, 0.8) for setting in settings], seeds=2)
    for kept in (records, records[records["setting_id"] != hash_of(settings[3])]):
        matches = partners(compare(kept, Question(baseline="none")))
        assert matches[hash_of(settings[2])] == hash_of(SGD)
    # Nor is a fresh network of the one that of the other.
    fresh = study([({**SGD, **other}, 0.8), ({**SGD, **FRESH}, 0.9)], seeds=2)
    (runs,) = runs_for(fresh, find_metric("relative_late_accuracy"))
    assert (runs.seeds, runs.unmatched) == ((), (0, 1))


def crossed(*kinds):
    """Return every optimizer at two rates, as plain as it is and of each kind."""
    return [
        {**optimizer, "lr": lr, **kind}
        for optimizer in (SGD, SAM, GNP)
        for lr in (0.01, 0.001)
        for kind in ({}, *kinds)
    ]


@pytest.mark.parametrize(
    ("name", "part", "change"),
    [
        ("sgd", "optimizer", {"optimizer": "sgd", "rho": None, "alpha": None}),
        ("plain", "base", dict.fromkeys(ADAM)),
        ("adam", "base", ADAM),
        ("none", "intervention", {**dict.fromkeys(REDO), "weight_decay": 0.0}),
        ("redo", "intervention", {**REDO, "weight_decay": 0.0}),
        ("weight_decay", "intervention", {**dict.fromkeys(REDO), **DECAY}),
    ],
)
def test_each_setting_has_the_partner_that_differs_in_one_part(name, part, change):
    """With both bases and several remedies, for every kind of baseline."""
    settings = crossed(ADAM, REDO, DECAY, {**ADAM, **REDO}, {**ADAM, **DECAY})
    records = study([(setting, 0.9) for setting in settings], seeds=2)
    ids = {hash_of(setting) for setting in settings}
    expected = {}
    for setting in settings:
        partner = hash_of({**setting, **change})
        if partner != hash_of(setting):
            expected[hash_of(setting)] = partner
    assert set(expected.values()) <= ids
    assert partners(compare(records, Question(baseline=name))) == expected


def test_sam_is_compared_with_sgd_and_an_optimizer_can_be_the_baseline():
    records = study([(SGD, 0.8), (SAM, 0.9), ({**SGD, "lr": 0.1}, 0.8)])
    data = compare(records, Question(baseline="sam"))
    rate = {**SGD, "lr": 0.1}
    assert partners(data) == {hash_of(SGD): hash_of(SAM), hash_of(rate): None}
    assert set(partners(data, "best").values()) == {hash_of(SAM)}


def test_the_fresh_network_has_the_base_of_the_setting():
    """Under Adam a fresh network does better: subtracting SGD's hides the loss."""
    settings = [
        (SGD, 0.80),
        ({**SGD, **FRESH}, 0.81),
        ({**SAM, **ADAM}, 0.90),
        ({**SGD, **FRESH, **ADAM}, 0.92),
        ({**SGD, **FRESH, **DECAY}, 0.5),
    ]
    records = study(settings, noise=0)
    metric = find_metric("relative_late_accuracy")
    left = {runs.setting_id: runs.matrix.mean() for runs in runs_for(records, metric)}
    assert left[hash_of(SGD)] == pytest.approx(-0.01)
    assert left[hash_of({**SAM, **ADAM})] == pytest.approx(-0.02)


def test_weight_decay_is_a_remedy():
    decayed = {**SGD, **DECAY}
    records = study([(SGD, 0.8), (decayed, 0.9), (SAM, 0.85)])
    data = compare(records, Question(baseline="none"))
    (row,) = data[data["against"] == "matched"].to_dict("records")
    assert (row["setting_id"], row["baseline_id"]) == (hash_of(decayed), hash_of(SGD))
    assert row["verdict"] == "better"
    # Nor is it the SGD that SAM without weight decay is compared with.
    best = partners(compare(records), "best")
    assert best[hash_of(SAM)] == hash_of(SGD)


# 3. No number of a table is beyond what an accuracy can do: see tables/test_tables.py.
# 4. The seeds that choose do not judge: see test_promises.py.
# 5. Seeds that confirm do not leak.


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory):
    """A study of four settings; the best of each of three methods has more seeds."""
    results = tmp_path_factory.mktemp("confirmed")
    kinds = {"rates": (0.1,), "rhos": (0.05,), "tasks": 10}
    write(results, "p", *rho_runs("permuted", range(3), **kinds))
    add_seeds(results, range(3, 13), **kinds)
    frame = load(str(results))
    best = best_settings(frame[frame["seed"] < 3])["permuted"]
    assert (frame["setting_id"].nunique(), len(best)) == (4, 3)
    return frame, best


def test_with_four_settings_the_seeds_that_confirm_are_known(confirmed):
    frame, best = confirmed
    extra = {runs.setting_id: len(runs.extra) for runs in by_setting(frame)}
    assert {name for name, count in extra.items() if count} == set(best)
    assert {runs.missing for runs in by_setting(frame)} == {()}
    winners = confirm(frame)
    assert winners["against"].tolist() == ["choosing", "confirming"] * 2
    assert winners["pairs"].tolist() == [3, 10] * 2
    # They have no say when the best are chosen again.
    assert best_settings(frame) == {"permuted": best}


def test_table_map_and_comparison_use_the_same_seeds(confirmed):
    frame, _ = confirmed
    table = accuracy_table(frame).set_index("setting_id")
    grid = rho_grid(frame, ["late_accuracy"]).set_index("setting_id")
    data = compare(frame).query("against == 'matched'").set_index("setting_id")
    assert set(table["runs"]) == set(grid["runs"]) == set(data["pairs"]) == {3}
    for name, row in data.iterrows():
        assert row["mean"] == pytest.approx(table.loc[name, "late_accuracy"])
        assert row["mean"] == pytest.approx(grid.loc[name, "mean"])
    assert set(table["missing_seeds"]) == {""}
    more = "3 4 5 6 7 8 9 10 11 12"
    assert sorted(table["extra_seeds"]) == ["", more, more, more]


def test_a_filter_can_ask_for_the_seeds_that_confirm(confirmed):
    frame, best = confirmed
    table = accuracy_table(frame[frame["seed"] >= 3])
    assert table["runs"].tolist() == [10] * 3
    assert set(table["setting_id"]) == set(best)


# 6. Undecided is not "the same".


def test_undecided_is_never_the_same():
    """The same is shown, or it is not said: three noisy seeds show nothing."""
    for noise, verdict in ((0.05, "undecided"), (0.0005, "the same")):
        records = study([(SGD, 0.9), (SAM, 0.9001)], seeds=5, noise=noise)
        (row, _) = compare(records).to_dict("records")
        assert row["verdict"] == verdict
        half = (row["hi"] - row["lo"]) / 2
        assert row["same"] == (verdict == "the same") == (half < MARGIN)


def test_the_margin_is_of_the_trend_over_the_whole_stream():
    """A slope of 0.001 per task is 0.009 over ten tasks, and more than the margin."""
    line = 0.8 + 0.001 * np.arange(TASKS)
    rng = np.random.default_rng(0)
    flat, rising = (v + rng.normal(0, 5e-4, (10, TASKS)) for v in (0.8, line))
    records = make_frame([(SGD, flat), (SAM, rising)])
    for margin, same in ((0.005, False), (0.015, True)):
        metric = METRICS["accuracy_slope"]
        data = compare(records, Question(metric=metric, margin=margin))
        assert data["same"].tolist() == [same, same]


# 7. An unrelated study in the same folder changes no verdict.


@pytest.mark.parametrize("baseline", ["sgd", "none", "plain"])
@pytest.mark.parametrize("ask", [compare, confirm])
def test_another_study_in_the_folder_changes_no_verdict(ask, baseline):
    kinds = [SGD, SAM, GNP, {**SGD, **ADAM}, {**SAM, **ADAM}, {**SGD, **REDO}]
    records = study([(s, 0.9 + 0.003 * i) for i, s in enumerate(kinds)], "mine")
    # In the other study SGD has hyperparameters that no SGD of this study has.
    odd = [
        {**k, "eta": 0.1, "spectral_bound": 2.0} for k in (*kinds, {**SAM, "rho": 1})
    ]
    others = study([(s, 0.5) for s in (*kinds, *odd)], "others", noise=0.1)
    mixed = pd.concat([others, records], ignore_index=True)
    question = Question(baseline=baseline)
    alone, beside = ask(records, question), ask(mixed, question)
    beside = beside[beside["study"] == "mine"]
    names = [name for name in alone if "label" not in name]
    assert len(alone)
    assert plain_rows(alone[names]) == plain_rows(beside[names])


def test_a_hyperparameter_of_one_method_is_looked_for_in_its_own_study():
    """Else an SGD of another study, which has an eta, would part SAM and SGD."""
    mine = study([(SGD, 0.8), ({**SAM, "eta": 0.1}, 0.9)], "mine")
    others = study([({**SGD, "eta": 0.1}, 0.8)], "others")
    data = compare(pd.concat([others, mine], ignore_index=True))
    assert set(data["baseline_id"]) == {hash_of(SGD)}


# 9. The best of each method is confirmed: see also test_compare.py.


def test_each_method_is_judged_with_its_own_learning_rate(tmp_path):
    kinds = {"rates": (0.1, 0.01), "rhos": (0.001, 0.1), "tasks": 10}
    write(tmp_path, "p", *rho_runs("permuted", range(4), **kinds))
    add_seeds(tmp_path, range(4, 8), **kinds)
    data = confirm(load(str(tmp_path)))
    judged = data[data["against"] == "confirming"]
    assert judged["optimizer"].tolist() == ["sam", "gnp"]
    assert judged["paired_seeds"].tolist() == ["4 5 6 7"] * 2
    assert len(set(judged["baseline_id"])) == 1
    late = {
        (r.setting["optimizer"], r.setting_id): METRICS["late_accuracy"](
            r.select_seeds(range(4)).matrix
        ).mean()
        for r in by_setting(load(str(tmp_path)))
    }
    for row in judged.to_dict("records"):
        own = {k: level for k, level in late.items() if k[0] == row["optimizer"]}
        assert max(own, key=own.get)[1] == row["setting_id"]


# 10. Where the only rival is a fresh network, a relative metric compares nothing.


def test_a_fresh_network_is_no_rival_on_a_relative_metric():
    records = study([(SGD, 0.8), ({**SGD, **FRESH}, 0.9)])
    question = Question(metric=find_metric("relative_plasticity_loss"), baseline="none")
    assert compare(records, question).empty
    assert confirm(records, question).empty
