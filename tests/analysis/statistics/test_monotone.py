"""Curves that never fall, exponents with known answers, and the jackknife."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.statistics.intervals import mean_interval
from analysis.statistics.monotone import (
    fit_exponents,
    fit_monotone,
    isotonic_squares,
    jackknife,
)

X = np.linspace(-3, 3, 40)


def test_a_curve_fits_what_never_falls():
    y = 1 / (1 + np.exp(-3 * X)) - 5
    curve, squares = fit_monotone(X, y, 0.5)
    assert squares < 1e-3
    assert curve(X) == pytest.approx(y, abs=0.02)
    assert curve(np.array([-99.0, 99.0])) == pytest.approx(y[[0, -1]], abs=0.02)


def test_a_curve_never_falls():
    curve, squares = fit_monotone(X, -X, 0.5)
    assert curve(X) == pytest.approx(np.zeros(40), abs=1e-9)
    assert squares == pytest.approx(np.square(X).sum())
    noise = np.random.default_rng(0).normal(size=40)
    curve, squares = fit_monotone(X, noise, 0.1)
    assert np.diff(curve(X)).min() > -1e-9
    # no curve that never falls can leave less than isotonic regression
    assert isotonic_squares(noise) <= squares < np.square(noise - noise.mean()).sum()


def test_exponents_are_found_and_do_not_depend_on_units():
    rho, lr, batch = np.meshgrid(np.geomspace(0.01, 1, 7), [0.1, 0.3, 1], [1, 16, 64])
    x, factors = np.log(rho.ravel()), np.log([lr.ravel(), batch.ravel()]).T
    y = 1 / (1 + np.exp(-2 * (x - factors @ [0.5, -0.25] + 1)))
    found = fit_exponents(x, factors, y, 0.77)
    assert found == pytest.approx([0.5, -0.25], abs=0.01)
    again = fit_exponents(x + 5, factors - 2, y, 0.77)
    assert again == pytest.approx(found, abs=0.01)


def test_the_jackknife_of_a_mean_is_its_t_interval():
    values = np.random.default_rng(0).normal(size=(5, 2))
    ends = jackknife(lambda units: values[list(units)].mean(axis=0), 5)
    assert np.array(ends) == pytest.approx(np.array(mean_interval(values)[1:]))
    alone = jackknife(lambda units: values[list(units)].mean(axis=0), 2)
    assert np.isnan(alone).all()
