"""Checks of one value."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainables.checks import real, whole
from trainables.usage import UsageError


@pytest.mark.parametrize("value", [0, 1, 0.5, 1e-300, np.float64(0.5)])
def test_reals_pass_as_floats(value):
    got = real("rho", value)
    assert type(got) is float
    assert got == value


@pytest.mark.parametrize(
    "value",
    [-1e-9, math.nan, math.inf, -math.inf, 10**400, "0.1", True, None, [0.1], 1j],
)
def test_what_is_no_such_real_is_refused(value):
    with pytest.raises(UsageError) as refusal:
        real("rho", value)
    assert str(refusal.value) == f"rho is {value!r}: it must be a number at least 0"


def test_bounds_are_in_or_out():
    assert real("x", 0, 0, 1) == 0
    assert real("x", 1, 0, 1) == 1
    with pytest.raises(UsageError, match=r"x is 0: it must be a number above 0$"):
        real("x", 0, above=True)
    with pytest.raises(UsageError, match=r"a number at least 0 and below 1$"):
        real("x", 1, 0, 1, below=True)
    with pytest.raises(UsageError, match=r"a number at least 0 and at most 1$"):
        real("x", 1.01, 0, 1)


def test_there_is_one_zero():
    assert math.copysign(1, real("rho", -0.0)) == 1


def test_whole_numbers_pass():
    assert whole("seed", 0, 0) == 0
    assert whole("tasks", 5, 1, 5) == 5


@pytest.mark.parametrize("value", [0, -3, 6, 1.0, 2.5, "2", True, None, math.nan])
def test_what_is_no_such_whole_number_is_refused(value):
    with pytest.raises(UsageError) as refusal:
        whole("tasks", value, 1, 5)
    expected = "it must be a whole number, at least 1 and at most 5"
    assert str(refusal.value) == f"tasks is {value!r}: {expected}"
