"""Spaces: every point is a setting, and what cannot be one is refused beforehand."""

from __future__ import annotations

import re

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.spec.domain import Domain, choice, integer, log, uniform
from study.spec.search import SEARCHES
from study.spec.space import Space
from trainables.usage import UsageError

SPACE = SEARCHES["search"].space


@given(seed=st.integers(0, 2**32 - 1))
def test_every_point_is_a_setting_within_its_bounds(seed):
    random = np.random.Generator(np.random.PCG64(seed))
    row = SPACE.make_setting(lambda _, domain: domain.draw(random)).row()
    assert 1e-3 <= row["lr"] <= 0.3
    assert (row["rho"] is None) == (row["optimizer"] == "sgd")
    assert (row["alpha"] is None) == (row["optimizer"] != "gnp")
    assert row["rho"] is None or 1e-3 <= row["rho"] <= 2
    assert row["momentum"] in (0.0, 0.9)
    assert row["tasks"] == 20


def test_optuna_is_asked_only_for_what_is_there():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        trial = study.ask()
        row = SPACE.make_setting(lambda n, d, t=trial: d.suggest(t, n)).row()
        assert trial.params == {n: row[n] for n in SPACE.domains if row[n] is not None}
    kinds = {trial.params["optimizer"] for trial in study.trials}
    assert kinds == {"sgd", "sam", "gnp"}


@given(
    low=st.integers(1, 50),
    width=st.integers(0, 50),
    seed=st.integers(0, 999),
    logarithm=st.booleans(),
    whole=st.booleans(),
)
def test_a_range_is_drawn_within_its_bounds(low, width, seed, logarithm, whole):
    make = {(0, 0): uniform, (1, 0): log, (0, 1): integer}.get((logarithm, whole))
    if make is None:
        return
    domain = make(low, low + width)
    random = np.random.Generator(np.random.PCG64(seed))
    values = [domain.draw(random) for _ in range(5)]
    assert all(low <= value <= low + width for value in values)
    assert all(isinstance(value, int) == whole for value in values)


def test_the_logarithm_is_what_is_even():
    random = np.random.Generator(np.random.PCG64(0))
    draws = np.log10([log(1e-4, 1).draw(random) for _ in range(2000)])
    assert np.histogram(draws, 4, (-4, 0))[0] == pytest.approx([500] * 4, rel=0.15)


def test_a_grid_is_every_setting_once():
    space = Space(
        dataset="mnist-5k",
        tasks=3,
        optimizer=choice("sgd", "gnp"),
        lr=choice(0.1, 0.01),
        rho=choice(0.1, 0.5, 1.0).when(optimizer="gnp"),
        alpha=choice(0.5, 0.8).when(optimizer="gnp"),
        hidden=choice("100-100", "50"),
    )
    found = space.grid()
    assert len(found) == len(set(found)) == 2 * 2 * (1 + 3 * 2)
    assert {s.hidden for s in found} == {(100, 100), (50,)}
    with pytest.raises(UsageError, match=r"lr is log 0.1 to 1: a grid needs a choice"):
        Space(lr=log(0.1, 1)).grid()


def test_random_settings_are_different_and_the_same_for_a_seed():
    one, same, other = SPACE.random(20), SPACE.random(20), SPACE.random(20, seed=1)
    assert one == same
    assert len(set(one)) == 20
    assert not set(one) & set(other)
    assert SPACE.random(5) == one[:5]
    with pytest.raises(UsageError, match=r"2 different random settings, .* only 1"):
        Space(lr=choice(0.1)).random(2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"roh": 0.1}, "unknown field 'roh': did you mean 'rho'?"),
        ({"lr": uniform(0, 1)}, "lr is 0: it must be a number above 0"),
        ({"momentum": uniform(0, 1)}, "momentum is 1: it must be a number at least 0"),
        ({"dataset": "mnst"}, "unknown dataset 'mnst': did you mean 'mnist'?"),
        ({"optimizer": choice("sgd", "adm")}, "unknown optimizer 'adm'"),
        ({"tasks": integer(40, 50), "problem": "pairwise"}, "tasks is 50: pairwise"),
        (
            {"optimizer": choice("sam", "sgd"), "rho": log(0.1, 1)},
            "or give a condition such as rho=log(0.01, 1).when(optimizer='sam')",
        ),
        (
            {
                "optimizer": choice("sgd", "sam"),
                "rho": log(0.1, 1).when(optimizer="sm"),
            },
            "unknown optimizer (in the condition of rho) 'sm': did you mean 'sam'?",
        ),
        (
            {"rho": log(0.1, 1).when(optimizer="sam"), "optimizer": choice("sam")},
            "rho depends on optimizer: give optimizer before rho",
        ),
        (
            {"lr": log(0.1, 1), "momentum": choice(0.9).when(lr=0.1)},
            "momentum cannot depend on lr, because lr is a range (log 0.1 to 1)",
        ),
        ({"lr": choice}, "lr is <function choice"),
    ],
)
def test_what_cannot_be_a_setting_is_one_line(fields, message):
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        Space(**fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: choice(), "choice of lr is empty"),
        (lambda: choice(1, 1), "choice of lr repeats a value"),
        (lambda: choice([1]), r"choice of lr has \[1\]: give only strings and numbers"),
        (lambda: log(0, 1), "low of lr is 0: it must be a number above 0"),
        (lambda: log(1, 0.1), "high of lr is 0.1: it must be a number at least 1"),
        (
            lambda: integer(2, 1),
            "high of lr is 1: it must be a whole number, at lea",
        ),
        (lambda: uniform("a", 1), "low of lr is 'a': it must be a number"),
    ],
)
def test_a_domain_without_sense_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        Space(lr=make())


def test_the_description_identifies_a_space():
    text = SPACE.describe()
    assert text["rho"] == "log 0.001 to 2 when optimizer in ['sam', 'gnp']"
    assert SPACE.fix(lr=log(1e-3, 0.3)).describe() == text
    assert SPACE.fix(lr=log(1e-3, 0.2)).describe() != text
    assert all(isinstance(d, Domain) for d in SPACE.domains.values())
