"""The verdicts on the paper's claims, from records that are made to show each one."""

import attrs
import numpy as np
import pandas as pd
import pytest

from analysis.comparing import claims as ledger
from analysis.comparing.claims import CLAIMS, Claim, claims
from analysis.comparing.compare import Question, compare
from analysis.comparing.evidence import (
    POINTS,
    UNMEASURED,
    Number,
    Statement,
    decide,
    number_of,
)
from analysis.comparing.streams import LENGTHS, SETUP, split_streams
from analysis.statistics.intervals import mean_interval
from analysis.statistics.metrics import METRICS
from analysis.statistics.power import detectable_effect
from tests.support.synthetic import make_frame, paper_settings

SEEDS = 6
NOISY = {"noise": 0.02}
FAST = ("sam", 0.01), ("gnp", 0.01)


def value_of(table, setting):
    """Return the value for a setting: its own, its optimizer's, or 0."""
    keys = (setting["optimizer"], setting["lr"]), setting["optimizer"]
    return next((table[key] for key in keys if key in table), 0)


def records(problem="permuted", noise=0.0005, measured=slice(None), **values):
    """Return the records of the paper's six settings.

    Args:
        problem: The problem.
        noise: The standard deviation over seeds, of the accuracy at the ends, in it.
        measured: The tasks on which the landscape was measured.
        **values: By optimizer, or by optimizer and lr: change, of the accuracy over the
            stream; level, added to all accuracies; growth, of log sharpness over the
            stream; link, of sharpness before a task with the accuracy on it.
    """
    rng = np.random.default_rng(7)
    pairs, landscapes = [], []
    for setting in paper_settings(problem):
        setting["alpha"] = setting["alpha"] and SETUP["alpha"]
        t = np.linspace(0, 1, setting["tasks"])
        own = {name: value_of(table, setting) for name, table in values.items()}
        change = own.get("change", 0) + noise * rng.normal(size=(SEEDS, 1))
        level = 0.9 + own.get("level", 0) + noise * rng.normal(size=(SEEDS, 1))
        wiggle = rng.normal(size=(SEEDS, len(t)))
        pairs.append((setting, level + change * t + 1e-4 * wiggle))
        rise = own.get("growth", 0) + 50 * noise * rng.normal(size=(SEEDS, 1))
        after = np.full(wiggle.shape, np.nan)
        after[:, measured] = np.exp(3 + rise * t)[:, measured]
        before = 20 + own.get("link", 0) * wiggle + rng.normal(size=wiggle.shape)
        before[np.isnan(after)] = np.nan
        landscapes.append((after.ravel(), before.ravel()))
    frame = make_frame(pairs)
    after, before = np.concatenate(landscapes, axis=1)
    return frame.assign(sharpness=after, start_sharpness=before)


def row_of(frame, claim, problem=None):
    """Return the row of a claim, without the time to judge the others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "CLAIMS", {claim: ledger.CLAIMS[claim]})
        rows = claims(frame)
    rows = rows if problem is None else rows[rows["problem"] == problem]
    return rows.iloc[0]


CASES = [
    ("C1", "supported", {}),
    ("C1", "contradicted", {"change": {("sam", 0.01): -0.02}}),
    ("C1", "contradicted", {"change": {("gnp", 0.001): 0.02}}),
    ("C1", "undecided", NOISY),
    ("C2", "supported", {"change": {("sam", 0.01): -0.02}}),
    ("C2", "contradicted", {}),
    ("C2", "contradicted", {"change": {"sgd": -0.02}}),
    ("C2", "undecided", NOISY),
    ("C3", "supported", {"change": {("sgd", 0.001): 0.004, ("sgd", 0.01): -0.03}}),
    ("C3", "contradicted", {"change": {"sgd": -0.01}}),
    ("C3", "undecided", NOISY),
    ("C4", "supported", {"change": dict.fromkeys(FAST, -0.02)}),
    ("C4", "contradicted", {"change": {("sam", 0.01): -0.02}}),
    ("C4", "contradicted", {"change": {("sam", 0.001): -0.02, ("gnp", 0.001): -0.02}}),
    ("C4", "undecided", {"change": dict.fromkeys(FAST, -0.02), **NOISY}),
    ("C5a", "supported", {}),
    ("C5a", "contradicted", {"change": {("sgd", 0.01): 0.02}}),
    ("C5a", "undecided", NOISY),
    ("C5b", "supported", {"change": {"sam": -0.02}}),
    ("C5b", "supported", {"change": {"sam": -0.003}}),
    ("C5b", "contradicted", {"change": {("sam", 0.01): -0.02}}),
    ("C5b", "undecided", NOISY),
    ("C5c", "supported", {"change": {"gnp": 0.01}}),
    ("C5c", "supported", {"change": {"gnp": 0.003}}),
    ("C5c", "contradicted", {"change": {"gnp": 0.01, ("sam", 0.01): 0.02}}),
    ("C5c", "contradicted", {}),
    ("C5c", "undecided", NOISY),
    ("C6", "supported", {"level": {"gnp": 0.005}}),
    ("C6", "contradicted", {"level": {"gnp": 0.02}}),
    ("C6", "undecided", {"level": {"gnp": 0.01}}),
    ("C6", "undecided", NOISY),
    ("C7", "supported", {"growth": {"sgd": 1}}),
    ("C7", "contradicted", {"growth": {("sgd", 0.01): 1, ("sgd", 0.001): -1}}),
    ("C7", "contradicted", {"growth": {("sgd", 0.01): 1}}),
    ("C7", "undecided", {"growth": {"sgd": 0.1}, **NOISY}),
    ("C12", "supported", {}),
    ("C12", "undecided", {"link": dict.fromkeys(("sgd", "sam", "gnp"), 1)}),
    ("C12", "undecided", {"measured": slice(None, None, 20)}),
]


WEAK = [(-0.8, "learned no more than chance"), (-0.5, "flatter but lower")]
"""How much lower the accuracy of a weak network is, and what is said of it."""


@pytest.mark.parametrize(("claim", "verdict", "made"), CASES)
def test_each_verdict_is_reached(claim, verdict, made):
    problem = CLAIMS[claim].problems[0]
    row = row_of(records(problem, **made), claim, problem)
    assert row["verdict"] == verdict
    assert row["lo"] < row["value"] < row["hi"]
    assert row["study"] == "paper"
    assert row["setup"] == ""
    assert row["n"] == SEEDS
    assert row["command"].startswith("python -m analysis ")
    assert ("undecided does not mean equal" in row["evidence"]) == (
        verdict == "undecided"
    )


def test_a_learning_rate_is_no_method():
    """All methods are alike; only the small learning rate learns less."""
    level = {(name, 0.001): -0.05 for name in ("sgd", "sam", "gnp")}
    assert row_of(records(level=level), "C6")["verdict"] == "supported"


@pytest.mark.parametrize(("level", "words"), WEAK)
@pytest.mark.parametrize("weak", ["sam", "gnp"])
def test_a_weak_network_decides_no_claim_on_plasticity(weak, level, words):
    """It loses nothing: its trend is the best, and its level the worst."""
    change = {name: -0.05 for name in ("sgd", "sam", "gnp") if name != weak}
    frame = records(change=change, level={weak: level})
    for claim in ("C1", "C2"):
        row = row_of(frame, claim, "permuted")
        assert row["verdict"] == "undecided"
        assert f"{weak.upper()} lr 0.01 minus SGD lr 0.01: -4." in row["evidence"]
        assert words in row["evidence"]
        # What was found is not said to be too small to be found.
        assert f"equal: for {weak.upper()}" not in row["evidence"]
    assert row_of(frame, "C6")["verdict"] == "contradicted"


@pytest.mark.parametrize(("level", "words"), WEAK)
def test_weak_networks_that_lose_as_much_as_sgd_show_no_sameness(level, words):
    frame = records(change={}, level={"sam": level, "gnp": level})
    for claim in ("C1", "C2"):
        assert row_of(frame, claim, "permuted")["verdict"] == "undecided"


def test_a_dead_gnp_is_not_the_most_effective():
    change = {"sgd": -0.05, "sam": -0.05}
    alive = records("pairwise", change=change)
    assert row_of(alive, "C5c", "pairwise")["verdict"] == "supported"
    dead = records("pairwise", change=change, level={"gnp": -0.8})
    row = row_of(dead, "C5c", "pairwise")
    assert (row["verdict"], row["by_slope"]) == ("undecided", None)


def test_prediction_is_no_cause():
    link = dict.fromkeys(("sgd", "sam", "gnp"), 1)
    row = row_of(records(link=link), "C12", "permuted")
    assert row["verdict"] == "undecided"
    assert row["lo"] > 0.5
    assert "is the cause, or something else changes both" in row["evidence"]


def test_the_slope_stands_beside_the_change_of_two_tasks():
    """The last task is an outlier upwards; along the stream, accuracy falls."""
    frame = records(change={"sgd": -0.03})
    last = (frame["task"] == 99) & (frame["optimizer"] == "sgd")
    frame.loc[last, "test_accuracy"] += 0.04
    row = row_of(frame, "C3")
    assert (row["verdict"], row["by_slope"]) == ("supported", "contradicted")
    assert "by the slope, in which every task counts: contradicted" in row["evidence"]


def test_the_numbers_are_those_of_the_metrics():
    frame = records(change={("sam", 0.01): -0.03})
    data = compare(frame, Question(metric=METRICS["plasticity_loss"]))
    most = data[data["against"] == "matched"].set_index("label").loc["SAM lr 0.01"]
    row = row_of(frame, "C1", "permuted")
    expected = most[["difference", "lo", "hi", "detectable"]].astype(float) * 100
    found = row[["value", "lo", "hi", "detectable"]].astype(float)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert (row["p"], row["tests"]) == (most["p_holm"], most["tests"])
    assert row["unit"] == "pp"
    assert row["subject"] == "SAM lr 0.01 minus SGD lr 0.01"

    frame = records(change={("sgd", 0.001): 0.01})
    sgd = frame[(frame["optimizer"] == "sgd") & (frame["lr"] == 0.001)]
    wide = sgd.pivot_table("test_accuracy", "seed", "task")
    change = (100 * (wide[99] - wide[0])).to_numpy()
    row = row_of(frame, "C3")
    assert row["subject"] == "SGD lr 0.001"
    found = row[["value", "lo", "hi"]].astype(float)
    np.testing.assert_allclose(found, np.array(mean_interval(change)), rtol=1e-9)
    effect = detectable_effect(SEEDS, 2)
    assert row["detectable"] == pytest.approx(effect * change.std(ddof=1))


def test_the_growth_of_sharpness_is_a_factor_over_the_stream():
    """Some tasks are not measured, and the first is far from the last."""
    grown = {"growth": {"sgd": np.log(3)}, "noise": 1e-5}
    for measured in (slice(None), slice(5, 90, 7)):
        row = row_of(records(**grown, measured=measured), "C7", "permuted")
        assert row["value"] == pytest.approx(3, rel=0.01)
        assert row["unit"] == "times over stream"


def test_an_eigenvalue_below_0_has_no_logarithm_and_its_run_no_slope():
    frame = records(growth={"sgd": 1})
    frame.loc[(frame["seed"] == 2) & (frame["task"] == 50), "sharpness"] = -1.0
    row = row_of(frame, "C7", "permuted")
    assert (row["verdict"], row["n"]) == ("supported", SEEDS - 1)


def diverge(frame, optimizer, lr, seed=0):
    lost = (frame["optimizer"] == optimizer) & (frame["lr"] == lr)
    lost &= (frame["seed"] == seed) & (frame["task"] > 50)
    frame.loc[lost, "diverged"] = True
    return frame


def test_a_setting_that_diverged_neither_supports_nor_contradicts():
    same = diverge(records(), "sam", 0.01)
    assert row_of(same, "C1", "permuted")["verdict"] == "undecided"
    assert row_of(same, "C2", "permuted")["verdict"] == "undecided"
    assert "not tested: a run diverged" in row_of(same, "C1")["evidence"]
    other = diverge(records(change={("gnp", 0.01): -0.02}), "sam", 0.01)
    assert row_of(other, "C1", "permuted")["verdict"] == "contradicted"
    falls = diverge(records(change=dict.fromkeys(FAST, -0.02)), "sam", 0.01)
    assert row_of(falls, "C4")["verdict"] == "undecided"
    only = diverge(records(change={("sam", 0.01): -0.02}), "sam", 0.01)
    assert row_of(only, "C1", "permuted")["verdict"] == "undecided"


@pytest.mark.parametrize(
    ("kept", "measured"),
    [
        ("sgd", {"C3", "C5a", "C7", "C12"}),
        ("sam", {"C5b"}),
        ("gnp", set()),
    ],
)
def test_claims_on_settings_that_are_not_there_are_not_measured(kept, measured):
    both = pd.concat([records("permuted"), records("pairwise")], ignore_index=True)
    data = claims(both[both["optimizer"] == kept])
    found = data[data["verdict"] != UNMEASURED]
    assert set(found["claim"]) == measured
    rest = data[data["verdict"] == UNMEASURED]
    assert set(rest["command"]) == {"python -m study.sweep paper"}
    assert rest[["value", "lo", "hi", "p"]].isna().all(axis=None)


def test_a_claim_on_two_learning_rates_needs_two():
    frame = records()
    one = frame[frame["lr"] == 0.01]
    data = claims(one).set_index(["claim", "problem"])["verdict"]
    assert data["C3", "permuted"] == data["C4", "permuted"] == UNMEASURED
    assert data["C1", "permuted"] == "supported"
    assert data["C1", "pairwise"] == UNMEASURED


def test_sharpness_that_was_not_measured_names_the_option():
    frame = records().assign(sharpness=np.nan, start_sharpness=np.nan)
    for claim in ("C7", "C12"):
        row = row_of(frame, claim, "permuted")
        assert row["verdict"] == UNMEASURED
        assert row["command"] == "python -m study.sweep paper --landscape-every 1"


def test_one_seed_decides_nothing():
    frame = records(change={("sam", 0.01): -0.02})
    assert (claims(frame[frame["seed"] == 0])["verdict"] == UNMEASURED).all()


def test_other_values_of_rho_do_not_judge_and_the_command_leaves_them_out():
    """SAM with a huge rho collapses. The claims are not about it."""
    frame = records()
    huge = frame[frame["optimizer"] == "sam"].copy()
    huge["rho"], huge["setting_id"] = 2.0, huge["setting_id"] + "h"
    huge["run_id"] += "h"
    huge["test_accuracy"] -= 0.5 * huge["task"] / 99
    both = pd.concat([frame, huge], ignore_index=True)
    first = row_of(both, "C1", "permuted")
    assert first["verdict"] == "supported"
    assert first["command"].endswith("--where '(rho IN (0.05) OR rho IS NULL)'")
    assert "rho" not in first["setup"]
    alone = row_of(huge.assign(rho=2.0), "C5b")
    assert alone["verdict"] == UNMEASURED


def test_remedies_and_other_bases_do_not_judge():
    frame = records()
    for change in ({"base": "adam"}, {"intervention": "redo"}, {"weight_decay": 0.1}):
        assert (claims(frame.assign(**change))["verdict"] == UNMEASURED).all()


def test_another_stream_is_said():
    row = row_of(records().assign(batch_size=1, dataset="mnist-5k"), "C1", "permuted")
    assert row["verdict"] == "supported"
    assert row["setup"] == "dataset mnist-5k, batch_size 1"


def test_each_study_has_its_verdict_and_its_commands():
    worse = records(change={"sam": -0.02}).assign(study="it's other")
    both = pd.concat([records(), worse], ignore_index=True)
    data = claims(both)
    rows = data[(data["claim"] == "C1") & (data["problem"] == "permuted")]
    verdicts = rows.set_index("study")["verdict"]
    assert verdicts.to_dict() == {"paper": "supported", "it's other": "contradicted"}
    assert rows["command"].str.contains("--study").all()
    alone = claims(records()).set_index(["claim", "problem"])["value"]
    paper = data[data["study"] == "paper"].set_index(["claim", "problem"])["value"]
    pd.testing.assert_series_equal(paper, alone[paper.index])
    assert len(data[data["verdict"] == UNMEASURED]) == 7  # pairwise, once each


def test_seeds_that_confirm_do_not_judge():
    """Seeds that were run for the best setting alone are not a sample of all."""
    frame = records()
    best = frame[(frame["optimizer"] == "sgd") & (frame["lr"] == 0.01)].copy()
    best["seed"] += SEEDS
    best["test_accuracy"] += 0.1 * best["task"] / 99
    both = pd.concat([frame, best], ignore_index=True)
    pd.testing.assert_frame_equal(claims(both), claims(frame))


def test_a_new_claim_is_a_function_and_an_entry(monkeypatch):
    def learns(stream):
        numbers = [
            number_of(METRICS["mean_accuracy"](runs.matrix), name, POINTS)
            for runs, name in stream.named("sgd")
        ]
        return Statement(numbers=[n.judge((0.5, float("inf"))) for n in numbers])

    entry = Claim(id="C99", text="SGD learns", section="9", how="it", judge=learns)
    monkeypatch.setitem(ledger.CLAIMS, "C99", entry)
    row = row_of(records(), "C99", "permuted")
    assert row["verdict"] == "supported"
    assert row["value"] == pytest.approx(90, abs=0.1)


def test_the_usual_setup_is_that_of_the_study_paper():
    from study.spec.studies import STUDIES

    for row in STUDIES["paper"].rows().values():
        usual = SETUP | {"tasks": LENGTHS[row["problem"]]}
        for name, value in usual.items():
            assert row.get(name) in (value, None)


def test_every_claim_of_the_paper_is_listed():
    numbers = {int("".join(filter(str.isdigit, claim))) for claim in CLAIMS}
    assert numbers == {*range(1, 14)} - {11}
    for claim in CLAIMS.values():
        assert claim.text
        assert claim.section
        assert claim.how.endswith(".")


def test_a_problem_of_no_claim_is_left_out():
    frame = records().assign(problem="random_label")
    assert (claims(frame)["verdict"] == UNMEASURED).all()
    assert [stream.problem for stream in split_streams(frame, "x")] == ["random_label"]


def numbers(means, region, refuted=None, n=SEEDS, seed=0):
    rng = np.random.default_rng(seed)
    samples = np.array(means)[:, None] + rng.normal(size=(len(means), n))
    made = [number_of(sample, "x", POINTS) for sample in samples]
    return [number.judge(region, refuted) for number in made]


@pytest.mark.parametrize("every", [True, False])
@pytest.mark.parametrize(("region", "edge"), [((0.0, np.inf), 0.0), ((-2.0, 2.0), 2.0)])
def test_a_true_edge_is_rarely_decided(every, region, edge):
    """All four numbers lie on the edge: both verdicts are wrong."""
    verdicts = [
        decide(
            Statement(numbers=numbers(4 * [edge], region, seed=seed), every=every)
        ).verdict
        for seed in range(400)
    ]
    # 5% and three standard errors
    assert verdicts.count("supported") <= 33
    assert verdicts.count("contradicted") <= 33


def test_the_interval_decides_a_single_number():
    for seed in range(200):
        (number,) = numbers([0.5], (0.0, np.inf), seed=seed)
        _, lo, hi = number.interval
        verdict = decide(Statement(numbers=[number])).verdict
        expected = "supported" if lo > 0 else "contradicted" if hi < 0 else "undecided"
        assert verdict == expected


def test_the_bound_is_the_smallest_margin_of_sameness():
    number = Number(subject="x", mean=0.3, sd=1.0, n=8, unit=POINTS)
    for factor, shown in ((1.001, True), (0.999, False)):
        margin = factor * number.bound / 100
        assert (number.p_inside((-margin, margin)) < 0.05) == shown


def test_a_number_that_does_not_vary_is_not_tested():
    constant = number_of(np.full(5, 0.1), "x", POINTS)
    assert not constant.judge((0.0, 1.0)).tested
    single = number_of(np.array([0.1]), "x", POINTS).judge((0.0, 1.0))
    assert not single.tested
    assert single.text == "10.00 (no interval)"
    assert decide(Statement(numbers=[single])).verdict == UNMEASURED


def test_an_untested_number_takes_support_but_not_contradiction():
    inside, outside = numbers([50.0, -50.0], (0.0, np.inf))
    lost = attrs.evolve(inside, untested="a run diverged", p_for=np.nan)
    assert decide(Statement(numbers=[inside])).verdict == "supported"
    assert decide(Statement(numbers=[inside, lost])).verdict == "undecided"
    assert decide(Statement(numbers=[outside, lost])).verdict == "contradicted"
    assert decide(Statement(numbers=[inside, lost], every=False)).verdict == "supported"
    some = Statement(numbers=[outside, lost], every=False)
    assert decide(some).verdict == "undecided"


@pytest.mark.parametrize("problem", ["permuted", "pairwise"])
def test_networks_that_learn_no_more_than_chance_decide_nothing(problem):
    """They lose nothing, do not differ, and may drift like a network that learns."""
    level = {"permuted": -0.8, "pairwise": -0.4}[problem]
    change = {"sam": -0.02, ("gnp", 0.01): 0.01}
    made = {"growth": {"sgd": 1}, "change": change}
    dead = records(problem, level=dict.fromkeys(("sgd", "sam", "gnp"), level), **made)
    data = claims(dead)
    data = data[data["problem"] == problem]
    assert len(data) >= 5
    assert set(data["verdict"]) == {"undecided"}
    assert set(data["note"]) == {"no network learned more than chance"}
    alive = claims(records(problem, **made))
    assert {"supported", "contradicted"} <= set(alive["verdict"])


def test_a_dead_sgd_does_not_show_that_the_others_lose_more():
    frame = records(change={"sam": -0.05, "gnp": -0.05}, level={"sgd": -0.8})
    for claim in ("C1", "C2", "C3"):
        row = row_of(frame, claim, "permuted")
        assert row["verdict"] in ("undecided", UNMEASURED)
        assert "learned no more than chance" in row["evidence"]
    assert row_of(frame, "C6")["verdict"] == "contradicted"
