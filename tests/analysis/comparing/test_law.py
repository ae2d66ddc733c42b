"""Laws of rho with known exponents, and pools without a law."""

from __future__ import annotations

import attrs
import numpy as np
import pandas as pd
import pytest

from analysis.comparing.compare import Question
from analysis.comparing.law import FREE, OWN, Pool, _exponents, _halves, _p_value, law
from analysis.tables.law import print_law
from tests.support.command import call
from tests.support.synthetic import make_frame, make_run, make_setting, write
from trainables.usage import UsageError

RHOS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
SCALES = [(1, 0.003), (1, 0.01), (16, 0.01), (16, 0.03), (64, 0.03), (64, 0.1)]
SGD = 0.9


def death(setting, a=0.5, b=0.25):
    """Return the share that is lost by a law, of rho / (lr^a batch^b)."""
    x = np.log(setting["rho"] / 0.01 / setting["lr"] ** a / setting["batch_size"] ** b)
    return 1 / (1 + np.exp(-3 * (x - 3)))


def study(share=death, spread=0.002, seeds=5, unit=1.0, scales=SCALES, sgd=SGD):
    """Return records of SGD and of SAM, which loses a share of what is above chance."""
    settings, random = [], np.random.default_rng(0)
    for batch_size, lr in scales:
        base = make_setting(tasks=10, batch_size=batch_size, lr=lr)
        luck = random.normal(0, spread, (seeds, 1))
        settings.append((base, np.tile(sgd + luck, 10)))
        for rho in RHOS:
            setting = {**base, "optimizer": "sam", "rho": rho}
            own = random.normal(0, spread, (seeds, 1))
            level = sgd - share(setting) * (sgd - 0.1) + own
            settings.append(({**setting, "rho": rho * unit}, np.tile(level, 10)))
    frame = make_frame(settings)
    return frame.assign(gradient_norm=frame["lr"] ** 2, weight_norm=np.nan)


@pytest.fixture
def no_intervals(monkeypatch):
    """Leave out the intervals of the exponents, which take most of the time."""
    monkeypatch.setattr("analysis.comparing.law._exponents", lambda pool: {})


def ask(records, **question):
    answer = law(records, Question(**question))
    return answer.halves, answer.variables.set_index("variable")


def test_a_known_law_is_found():
    halves, variables = ask(study())
    free = variables.loc[FREE]
    assert free["a_lo"] < 0.5 < free["a_hi"]
    assert free["b_lo"] < 0.25 < free["b_hi"]
    assert free["a_curves_lo"] < 0.5 < free["a_curves_hi"]
    assert free["a_hi"] - free["a_lo"] < 0.1
    assert variables.loc[OWN, "explained"] > free["explained"] > 0.99
    assert free[["without_1", "without_16", "without_64"]].min() > 0.98
    assert variables["explained"].drop([FREE, OWN]).max() < 0.96
    assert free["p_value"] == 0.005
    true = 0.01 * np.exp(3) * halves["lr"] ** 0.5 * halves["batch_size"] ** 0.25
    reached = true < 0.2
    half = halves["half"]
    assert half[reached].to_numpy() == pytest.approx(true[reached], rel=0.2)
    assert (half[~reached] == np.inf).all()
    assert (halves["lo"] < true).all()
    assert (true < halves["hi"]).all()
    steps = np.searchsorted(RHOS, halves["hi"]) - np.searchsorted(RHOS, halves["lo"])
    assert steps.max() <= 2


@pytest.mark.parametrize(
    ("variable", "a", "b"),
    [
        ("rho", 0, 0),
        ("rho / lr", 1, 0),
        ("rho lr", -1, 0),
        ("rho / sqrt(batch)", 0, 0.5),
        ("rho sqrt(batch)", 0, -0.5),
        ("rho gradient norm", -2, 0),
        ("rho / (lr gradient norm)", 3, 0),
    ],
)
@pytest.mark.usefixtures("no_intervals")
def test_each_variable_can_be_the_law(variable, a, b):
    middle = 0.02**-a * 16**-b  # so that networks die within the values of rho
    _, found = ask(
        study(lambda s: death({**s, "rho": s["rho"] / middle}, a, b), spread=0)
    )
    assert found["explained"].drop([OWN, FREE]).idxmax() == variable
    assert found.loc[variable, "explained"] > 0.99
    assert np.isnan(found.loc["rho / weight norm", "explained"])


@pytest.mark.usefixtures("no_intervals")
def test_the_unit_of_rho_does_not_matter():
    (halves, one), (other_halves, other) = ask(study()), ask(study(unit=1000))
    columns = ["explained", "without_1", "without_64", "outside_1", "noise"]
    assert one[columns].to_numpy(float) == pytest.approx(
        other[columns].to_numpy(float), abs=0.005, nan_ok=True
    )
    assert other_halves["half"].to_numpy() == pytest.approx(1000 * halves["half"])


def test_curves_that_die_anywhere_have_no_law():
    shift = dict(zip(SCALES, (1.5, -1.5, 0.5, -1.0, 1.0, -0.5), strict=True))

    def share(setting):
        x = np.log(setting["rho"] / 0.03) - shift[setting["batch_size"], setting["lr"]]
        return 1 / (1 + np.exp(-4 * x))

    _, variables = ask(study(share))
    free = variables.loc[FREE]
    assert variables.loc[OWN, "explained"] > 0.99
    assert free["explained"] < 0.95
    assert free["a_curves_hi"] - free["a_curves_lo"] > 0.5
    assert free[["without_1", "without_16", "without_64"]].min() < 0.5


@pytest.mark.usefixtures("no_intervals")
def test_noise_has_no_law(tmp_path, capsys):
    _, variables = ask(study(lambda setting: 0.0))
    assert variables["p_value"].iloc[0] > 0.05
    assert variables["noise"].iloc[0] > 0.5
    for i, (setting, level) in enumerate(
        (make_setting(tasks=3, lr=lr, **kind), 0.9)
        for lr in (0.01, 0.03)
        for kind in ({}, *({"optimizer": "sam", "rho": rho} for rho in (0.1, 0.2)))
    ):
        noise = np.random.default_rng(9 + i).normal(0, 0.01, (3, 1))
        runs = [
            make_run(setting, s, accuracy=[level + noise[s, 0]] * 3) for s in range(3)
        ]
        write(tmp_path, str(i), *runs)
    print_law(str(tmp_path), Question())
    said = capsys.readouterr().out
    assert "rho is not shown to do harm here" in said
    assert "exponents of" not in said


@pytest.mark.usefixtures("no_intervals")
def test_outside_of_the_range_nothing_is_predicted():
    _, variables = ask(study())
    row = variables.loc["rho / lr"]
    # The largest rho / lr with the other batch sizes is 0.2 / 0.01.
    assert row["outside_1"] == sum(r / 0.003 > 20.001 for r in RHOS)
    alone = [scale for scale in SCALES if scale[0] == 16]
    assert "without_16" not in ask(study(scales=alone))[1]
    two = [scale for scale in SCALES if scale[0] > 1]
    # Of one batch size, nobody knows the exponent of the batch size.
    assert np.isnan(ask(study(scales=two))[1].loc[FREE, "without_16"])


def test_half_is_lost_between_values_of_rho_that_show_it():
    def halves(*means, spread):
        noise = spread * np.array([-1.0, 0, 1])[:, None]
        shares = np.tile(means, (3, 1)) + noise
        rho = np.array([0.01, 0.1, 1.0])
        inputs = dict.fromkeys(("lr", "batch_size", "epochs"), np.ones(3))
        pool = Pool(
            names={},
            curve=np.zeros(3, int),
            inputs={"rho": rho, **inputs},
            shares=shares,
            levels=np.ones(1),
        )
        (row,) = _halves(pool)
        return row["lo"], row["half"], row["hi"]

    middle = pytest.approx(0.1 * np.sqrt(10))
    assert halves(0, 0.4, 0.6, spread=0.01) == (0.1, middle, 1)
    # With such noise, the shares 0.4 and 0.6 may be on the other side of one half.
    assert halves(0, 0.4, 0.6, spread=0.1) == (0.01, middle, np.inf)
    assert halves(0, 0.1, 0.2, spread=0.01) == (1, np.inf, np.inf)
    assert halves(0.7, 0.8, 0.9, spread=0.01) == (0, 0, 0.01)


@pytest.mark.usefixtures("no_intervals")
def test_a_run_that_diverged_lost_everything():
    records = study()
    lost = records["rho"] == 0.2
    halves, _ = ask(records.assign(diverged=lost))
    assert halves["lost"].to_numpy() == pytest.approx(1)
    assert (halves["half"] < 0.2).all()


def test_curves_that_differ_in_nothing_that_rho_may_follow_are_no_pool():
    records = study(scales=SCALES[:1])
    longer = records.assign(epochs=2, setting_id=records["setting_id"] + "-2")
    with pytest.raises(UsageError, match="there are no curves to compare"):
        ask(pd.concat([records, longer]))


def test_sgd_at_chance_has_nothing_to_lose():
    with pytest.raises(UsageError, match="there are no curves to compare"):
        ask(study(sgd=0.11))


def test_the_tables_say_where_networks_die(tmp_path):
    for i, (batch_size, lr) in enumerate(((1, 0.01), (16, 0.01), (16, 0.03))):
        base = make_setting(tasks=3, batch_size=batch_size, lr=lr)
        kinds = [({}, 0.9), ({"rho": 0.1}, 0.85), ({"rho": 0.2}, 0.2)]
        for kind, level in kinds:
            setting = {**base, **kind, "optimizer": "sam" if kind else "sgd"}
            runs = [
                make_run(setting, s, accuracy=[level + 0.001 * s * (i + 1)] * 3)
                for s in range(3)
            ]
            write(tmp_path, f"{i}-{level}", *runs)
    done = call("law", tmp_path, "--problem", "permuted", "--format", "markdown")
    assert done.returncode == 0, done.stderr
    assert "| 1 | 0.01 | 1 | 90.10 | 0.15 | 0.1 to 0.2 | 87.39 ± " in done.stdout
    assert "a = 0 (rho does not depend on lr) is" in done.stdout
    lines = call("law", tmp_path, "--format", "csv").stdout.splitlines()
    assert len(lines) == 1 + 10
    assert call("law", tmp_path, "--metric", "accuracy_slope").returncode == 2


@pytest.mark.chaos
def test_in_many_pools_the_intervals_and_the_test_keep_their_promise():
    rho, scale = np.meshgrid(np.log(RHOS), np.arange(len(SCALES)))
    factors = np.log(SCALES)[scale.ravel()][:, ::-1]
    x, curve = rho.ravel(), scale.ravel()
    middle = (x - factors @ [0.5, 0.25]).mean()
    names = ("rho", "lr", "batch_size")
    random, hits, p_values = np.random.default_rng(0), [], []
    for _ in range(100):
        luck = random.normal(0, 0.1, (5, 1)) + random.normal(0, 0.1, (5, len(x)))
        z = x - factors @ [0.5, 0.25] - middle + luck
        noise = random.normal(0, 0.02, (5, len(SCALES)))[:, curve]
        noise += random.normal(0, 0.02, (5, len(x)))
        inputs = dict(zip(names, np.exp([x, *factors.T]), strict=True))
        pool = Pool(
            names={},
            curve=curve,
            inputs=inputs,
            shares=1 / (1 + np.exp(-3 * z)) + noise,
            levels=np.ones(len(SCALES)),
        )
        found = _exponents(pool)
        for kind in ("", "_curves"):
            hits.append(found[f"a{kind}_lo"] < 0.5 < found[f"a{kind}_hi"])
        p_values.append(_p_value(attrs.evolve(pool, shares=noise)))
    assert 0.9 <= np.mean(hits[::2]) <= 1
    assert 0.9 <= np.mean(hits[1::2]) <= 1
    assert np.mean(np.array(p_values) <= 0.05) < 0.12
