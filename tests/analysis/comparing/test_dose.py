"""Curves of rho with known answers."""

from __future__ import annotations

import re

import numpy as np
import pytest

from analysis.comparing.compare import Question
from analysis.comparing.dose import answers, dose
from analysis.statistics.bands import simultaneous_band
from analysis.statistics.metrics import METRICS, find_metric
from analysis.tables.dose import print_dose
from tests.support.synthetic import frame, hash_of, make_run, make_setting, write
from trainables.usage import UsageError

SGD = make_setting(tasks=20)
RHOS = (0.001, 0.01, 0.1, 1.0)
LEVEL = METRICS["late_accuracy"]


def sam(rho, **changes):
    return {**SGD, "optimizer": "sam", "rho": rho, **changes}


def runs(setting, level, seeds=range(8), spread=0.001, **changes):
    """Return runs of a level; the same seed has the same luck."""
    for seed in seeds:
        luck = np.random.default_rng([seed, 1]).normal(0, 0.05)
        own = np.random.default_rng([seed, int(hash_of(setting), 16)])
        noise = own.normal(0, spread, setting["tasks"])
        yield make_run(setting, seed, accuracy=level + luck + noise, **changes)


def curve(*levels, spread=0.001):
    """Return records of SGD at 80%, and of SAM at these levels, one for each rho."""
    settings = [(SGD, 0.8), *zip(map(sam, RHOS), levels, strict=False)]
    return frame(*(r for s, level in settings for r in runs(s, level, spread=spread)))


def ask(records, metric=LEVEL, **question):
    return dose(records, Question(metric=metric, **question))


def test_what_a_curve_shows():
    data = ask(curve(0.82, 0.8, 0.799, 0.6))
    assert data["rho"].tolist() == list(RHOS)
    assert data["verdict"].iloc[0] == "better"
    assert data["verdict"].iloc[3] == "worse"
    assert data["difference"].tolist() == pytest.approx(
        [0.02, 0, -0.001, -0.2], abs=0.002
    )
    assert data["harmless"].tolist() == [True, True, True, False]
    (answer,) = answers(data).to_dict("records")
    assert (answer["rhos"], answer["least_rho"], answer["most_rho"]) == (4, 0.001, 1)
    assert answer["good_up_to"] == 0.1
    assert answer["better_at"] == "0.001"
    assert answer["curve"] == "SAM lr 0.01"
    assert set(data["method"]) == {"SAM"}


def test_a_harmless_rho_beyond_a_harmful_one_does_not_count():
    (answer,) = answers(ask(curve(0.8, 0.7, 0.8, 0.8))).to_dict("records")
    assert (answer["good_up_to"], answer["worse_from"]) == (0.001, 0.01)


def test_noise_decides_nothing_and_says_what_it_would_have_found():
    data = ask(curve(0.8, 0.8, spread=0.1))
    assert data["verdict"].tolist() == ["undecided"] * 2
    (answer,) = answers(data).to_dict("records")
    assert np.isnan(answer["good_up_to"])
    assert np.isnan(answer["worse_from"])
    assert answer["detectable"] == data["detectable"].max() > 0.05


def test_the_intervals_hold_for_the_whole_curve():
    records = curve(0.8, 0.79, 0.78, spread=0.02)
    data = ask(records)
    matrix = records.pivot(
        index="seed", columns=["setting_id", "task"], values="test_accuracy"
    )
    base = LEVEL(matrix[hash_of(SGD)].to_numpy())
    own = [LEVEL(matrix[hash_of(sam(rho))].to_numpy()) for rho in RHOS[:3]]
    expected = simultaneous_band(np.stack(own, axis=1) - base[:, None])
    for name, end in zip(("difference", "lo", "hi"), expected, strict=True):
        assert data[name].to_numpy() == pytest.approx(end)
    alone = ask(records[records["rho"].isna() | (records["rho"] == 0.01)])
    wide, narrow = (d[d["rho"] == 0.01].iloc[0] for d in (data, alone))
    assert wide["hi"] - wide["lo"] > narrow["hi"] - narrow["lo"]


def test_each_learning_rate_is_a_curve_with_its_own_baseline():
    slow = {"lr": 0.001}
    records = frame(
        *runs(SGD, 0.8),
        *runs({**SGD, **slow}, 0.6),
        *runs(sam(0.01), 0.7),
        *runs(sam(0.01, **slow), 0.7),
        *runs(sam(0.01, lr=0.1), 0.9),  # without a baseline
    )
    data = ask(records).set_index("lr")
    assert data["verdict"].to_dict() == {0.01: "worse", 0.001: "better"}


def test_a_run_that_diverged_is_no_survivor():
    lost = make_run(sam(0.1), 0, diverged_at=3)
    records = frame(
        *runs(SGD, 0.8),
        *runs(sam(0.01), 0.8),
        *runs(sam(0.1), 0.9, seeds=range(1, 8)),
        lost,
    )
    data = ask(records).set_index("rho")
    assert data.loc[0.1, "verdict"] == "diverged"
    assert data.loc[0.1, "diverged_seeds"] == "0"
    assert data.loc[0.01, "pairs"] == 8
    (answer,) = answers(ask(records)).to_dict("records")
    assert (answer["good_up_to"], answer["worse_from"]) == (0.01, 0.1)


def test_less_loss_is_better():
    loss = find_metric("late_accuracy", "train_loss")
    records = curve(0.8, 0.8)
    records["train_loss"] = np.where(records["rho"] == 0.001, 0.1, 0.2)
    records["train_loss"] += records["test_accuracy"] / 100
    assert ask(records, loss)["verdict"].tolist()[0] == "better"


@pytest.mark.parametrize("setting", [SGD, sam(0.1)])
def test_without_a_pair_there_is_no_answer(setting):
    with pytest.raises(UsageError, match="nothing to compare: add a setting with a "):
        ask(frame(*runs(setting, 0.8)))


def test_a_trend_is_no_answer(tmp_path):
    question = Question(metric=METRICS["accuracy_slope"])
    with pytest.raises(UsageError, match="choose for example late_accuracy"):
        print_dose(str(tmp_path), question)


def test_the_tables_say_what_was_asked_and_what_not(tmp_path, capsys):
    settings = [(SGD, 0.8), (sam(0.01), 0.8), (sam(1.0), 0.6)]
    write(tmp_path, "a", *(r for s, level in settings for r in runs(s, level)))
    print_dose(str(tmp_path), Question(metric=LEVEL))
    said = capsys.readouterr().out
    assert re.search(r"SAM lr 0.01 +2 from 0.01 to 1 +0.01 +1 +– +–", said)
    assert re.search(r"SAM lr 0.01 +1 +\d+\.\d+ +-\d+\.\d+ ± .* worse", said)
    assert "a loss of 0.50 pp or more is ruled out" in said
    print_dose(str(tmp_path), Question(metric=LEVEL), "csv")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 2
    assert "harmless" in lines[0]
