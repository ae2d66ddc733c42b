"""Hyperparameters: what a field declares, and which values it accepts."""

from __future__ import annotations

import math

import attrs
import numpy as np
import pyarrow as pa
import pytest

from trainables.hyperparameter import (
    check_real,
    check_whole,
    hyperparameters,
    real,
    text,
    whole,
)
from trainables.record import Column
from trainables.usage import UsageError


@pytest.mark.parametrize("value", [0, 1, 0.5, 1e-300, np.float64(0.5)])
def test_reals_pass_as_floats(value):
    got = check_real("rho", value)
    assert type(got) is float
    assert got == value


@pytest.mark.parametrize(
    "value",
    [-1e-9, math.nan, math.inf, -math.inf, 10**400, "0.1", True, None, [0.1], 1j],
)
def test_what_is_no_such_real_is_refused(value):
    with pytest.raises(UsageError) as refusal:
        check_real("rho", value)
    assert str(refusal.value) == f"rho is {value!r}: it must be a number at least 0"


def test_bounds_are_in_or_out():
    assert check_real("x", 0, 0, 1) == 0
    assert check_real("x", 1, 0, 1) == 1
    with pytest.raises(UsageError, match=r"x is 0: it must be a number above 0$"):
        check_real("x", 0, exclude_low=True)
    with pytest.raises(UsageError, match=r"a number at least 0 and below 1$"):
        check_real("x", 1, 0, 1, exclude_high=True)
    with pytest.raises(UsageError, match=r"a number at least 0 and at most 1$"):
        check_real("x", 1.01, 0, 1)


def test_there_is_one_zero():
    assert math.copysign(1, check_real("rho", -0.0)) == 1


def test_whole_numbers_pass():
    assert check_whole("seed", 0, 0) == 0
    assert check_whole("tasks", 5, 1, 5) == 5


@pytest.mark.parametrize("value", [0, -3, 6, 1.0, 2.5, "2", True, None, math.nan])
def test_what_is_no_such_whole_number_is_refused(value):
    with pytest.raises(UsageError) as refusal:
        check_whole("tasks", value, 1, 5)
    expected = "it must be a whole number, at least 1 and at most 5"
    assert str(refusal.value) == f"tasks is {value!r}: {expected}"


@attrs.frozen(kw_only=True)
class Part:
    decay: float = real(0.5, 0, 1, exclude_high=True, meaning="how fast it forgets")
    every: int = whole(10, 0, unit="updates", meaning="updates between resets")
    name: str = text("x", lambda value, _: str(value), meaning="what it is called")


def test_a_field_declares_default_range_unit_and_meaning():
    assert (Part().decay, Part().every, Part().name) == (0.5, 10, "x")
    assert hyperparameters(Part) == {
        "decay": Column(pa.float64(), True, "setting", "", "how fast it forgets"),
        "every": Column(
            pa.int64(), True, "setting", "updates", "updates between resets"
        ),
        "name": Column(pa.string(), True, "setting", "", "what it is called"),
    }


def test_a_field_checks_and_converts_its_value():
    assert type(Part(decay=0).decay) is float
    assert Part(name=3).name == "3"
    with pytest.raises(UsageError, match=r"decay is 1: .* at least 0 and below 1$"):
        Part(decay=1)
    with pytest.raises(UsageError, match=r"every is 2.5: it must be a whole number"):
        Part(every=2.5)
    with pytest.raises(UsageError, match="every is -1"):
        attrs.evolve(Part(), every=-1)
