"""The law of rho: one variable that predicts the harm of rho for all step sizes.

A curve has the settings that differ only in rho (`analysis.comparing.dose`). SGD learns
some accuracy above chance, and a setting loses a share of it:

    share = (SGD's level - level) / (SGD's level - chance)

The share is 0 for a setting that is as good as SGD, and 1 for a network that is at
chance. A share is not clipped to the range from 0 to 1, so that noise has a mean of 0.
A run that diverged counts as a run at chance.

All curves of a method on a problem are a pool. A variable, for example rho / lr, is a
law if one increasing function of it explains the shares of the whole pool as well as
one function for each step size and batch size does. A variable can explain a pool by
luck. So its function is also fitted without the settings of one batch size, and then
predicts the shares of these settings.

The variable rho / (lr^a batch^b) has the exponents a and b that explain most. Each
exponent has two intervals. The interval over seeds shows how much the exponent depends
on the seeds. The interval over curves shows how much it depends on the step sizes and
batch sizes of the study.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.comparing.baselines import Key
from analysis.comparing.chance import UNEVEN, chance_level
from analysis.comparing.compare import Question
from analysis.comparing.dose import curves, without
from analysis.records.runs import Runs, Setting, by_setting, labels, matrices
from analysis.statistics.intervals import Reals, mean_interval, standard_deviation
from analysis.statistics.metrics import Metric
from analysis.statistics.monotone import (
    REACH,
    fit_exponents,
    fit_monotone,
    isotonic_squares,
    jackknife,
)
from trainables.usage import UsageError

EXPONENTS = {"lr": "a", "batch_size": "b"}
"""The hyperparameters on which a good rho can depend, and their exponents' names."""

SCALES = tuple(EXPONENTS)

NORMS = ("gradient_norm", "weight_norm")
"""The measures of the matched SGD that a variable can use, as means over its stream.

The measures of the setting itself are not used: in a network that fails, they are an
effect of rho and not a cause of the failure.
"""

FREE, OWN = "rho / (lr^a batch^b)", "own curves"
"""The names of two rows of `Law.variables`. `FREE` is the variable with the best
exponents. `OWN` is a function for each curve, which explains at least as much as any
variable."""

HALF = 0.5
"""`Law.halves` has the rho at which this share is lost."""

NEAR = 0.01
"""An exponent has no interval if it is nearer than this to an end of the search."""

ROUNDING = 1e-9
"""The largest difference of two logarithms that counts as rounding error."""

DRAWS = 199
"""How often the permutation test shuffles rho."""

POOL = ["study", "problem", "method"]
"""The columns with the same values in all rows of a pool."""

Curve = tuple[list[Runs], Runs]
"""The settings of a curve, sorted by rho, and the matched SGD; see `dose.curves`."""


@attrs.frozen(kw_only=True, eq=False)
class Pool:
    """The curves of one method on one problem, with n settings."""

    names: dict[str, str]  # study, problem, and method: the label without the inputs
    curve: npt.NDArray[np.int64]  # the number of the curve of each setting, shape (n,)
    # rho, lr, batch_size, epochs, and the `NORMS` of the matched SGD (NaN if not
    # measured), each of shape (n,)
    inputs: dict[str, Reals]
    shares: Reals  # the share that each setting lost with each seed, shape (seeds, n)
    levels: Reals  # the level of the matched SGD of each curve, shape (curves,)

    def select(self, settings: npt.NDArray[np.bool_]) -> Pool:
        """Return the pool with only the settings that a mask of shape (n,) selects."""
        return attrs.evolve(
            self,
            curve=self.curve[settings],
            inputs={name: values[settings] for name, values in self.inputs.items()},
            shares=self.shares[:, settings],
        )

    @property
    def share(self) -> Reals:
        """The mean of `shares` over the seeds, shape (n,)."""
        return np.asarray(self.shares.mean(axis=0))

    @property
    def scales(self) -> list[str]:
        """The columns of `SCALES` that have several values."""
        return [name for name in SCALES if len(np.unique(self.inputs[name])) > 1]

    @property
    def width(self) -> float:
        """The median distance of neighboring settings on a curve, in log rho."""
        gaps = [np.diff(np.log(own)) for own in self.split(self.inputs["rho"])]
        return float(np.median(np.concatenate(gaps))) if any(map(len, gaps)) else 1.0

    def split(self, values: Reals) -> list[Reals]:
        """Return the values of each curve, sorted by rho."""
        return [values[self.curve == i] for i in np.unique(self.curve)]


Variable = Callable[[dict[str, Reals]], Reals]
"""A function that computes a variable from `Pool.inputs`: positive, of shape (n,)."""

VARIABLES: dict[str, Variable] = {
    "rho": lambda v: v["rho"],
    "rho / lr": lambda v: v["rho"] / v["lr"],
    "rho lr": lambda v: v["rho"] * v["lr"],
    "rho sqrt(batch)": lambda v: v["rho"] * np.sqrt(v["batch_size"]),
    "rho / sqrt(batch)": lambda v: v["rho"] / np.sqrt(v["batch_size"]),
    "rho gradient norm": lambda v: v["rho"] * v["gradient_norm"],
    "rho / (lr gradient norm)": lambda v: v["rho"] / (v["lr"] * v["gradient_norm"]),
    "rho / weight norm": lambda v: v["rho"] / v["weight_norm"],
}
"""The variables that are tried as a law. To add a variable, add a line.

rho times the gradient norm is the increase of the loss in the ascent step, to first
order. rho / (lr gradient norm) is the length of the ascent step divided by the length
of SGD's own step.
"""


@attrs.frozen
class Law:
    """The two tables that `law` returns."""

    halves: pd.DataFrame
    variables: pd.DataFrame


def law(frame: pd.DataFrame, question: Question) -> Law:
    """Return from which rho on networks fail, and which variable predicts this rho.

    `halves` has a row per curve, with the columns

        study, problem, method, lr, batch_size, epochs
        baseline_mean       the level of SGD
        least_rho, most_rho
        half                the rho at which half of SGD's accuracy above chance is
                            lost, interpolated in log rho; 0 if it is below least_rho,
                            infinite if it is above most_rho
        lo, hi              two values of rho that were run: by the 95% intervals, less
                            than half is lost at lo, and more than half at hi; lo is 0,
                            or hi is infinite, if there is no such rho
        lost, lost_lo, lost_hi      the share at most_rho, with its 95% interval

    `variables` has a row per pool and variable, with the columns

        study, problem, method, variable
        explained           the part of the variance of the shares between settings that
                            the variable explains
        without_N           for each batch size N: the same for the settings with this
                            batch size, predicted by a function that was fitted to the
                            other settings
        outside_N           how many of these settings are outside of the range of the
                            fit; they do not count in without_N
        a, a_lo, a_hi, a_curves_lo, a_curves_hi     the exponent of lr, with its 95%
                            intervals over seeds and over curves; only in the row `FREE`
        b, ...              the same for the exponent of the batch size
        noise               the part of the variance that is due to the seeds
        p_value             of the hypothesis that rho has no effect
        settings, curves, seeds     their numbers

    A curve is left out if its SGD is at chance, because then nothing can be lost.
    `frame` has records with `analysis.records.runs.NEEDED`, `NORMS` and the metric's
    measure. The metric of the question must be a level.

    Raises:
        UsageError: There are fewer than two curves to compare.
    """
    pools = _pools(frame, question)
    if not pools:
        raise UsageError(
            "there are no curves to compare: use at least two learning rates or two "
            "batch sizes, and with each of them run both SGD and an optimizer that has "
            "a rho, such as SAM"
        )
    halves = [row for pool in pools for row in _halves(pool)]
    variables = [row for pool in pools for row in _variables(pool)]
    return Law(pd.DataFrame(halves), pd.DataFrame(variables))


def _pools(frame: pd.DataFrame, question: Question) -> list[Pool]:
    groups: dict[Key, list[Curve]] = defaultdict(list)
    settings = by_setting(frame, question.metric.measure)
    for pair in curves(list(filter(question.is_about, settings))):
        curve, baseline = pair
        known = None not in _by_scales(pair)
        # Only common seeds are used. A setting without a finished run would leave none.
        known &= all(runs.seeds or runs.diverged for runs in curve)
        if known and _has_learned(baseline, question.metric):
            groups[curve[0].study, *_method(pair).values()].append(pair)
    own = [
        sorted(pairs, key=_by_scales)
        for pairs in groups.values()
        if len(set(map(_by_scales, pairs))) > 1
    ]
    pools: list[Pool] = []
    # The label of a method depends only on the methods of its study and problem.
    for _, part in itertools.groupby(own, lambda pairs: pairs[0][0][0].peers[:2]):
        alike = list(part)
        names = labels([_method(pairs[0]) for pairs in alike])
        for pairs, name in zip(alike, names, strict=True):
            if seeds := _common_seeds(pairs):
                pools.append(_pool(frame, pairs, seeds, name, question.metric))
    return pools


def _method(pair: Curve) -> Setting:
    """Return the setting of a curve without the values that can differ in a pool."""
    return without(pair[0][0].setting, "rho", *SCALES, "epochs")


def _common_seeds(pairs: Sequence[Curve]) -> set[int]:
    """Return the seeds that all settings and baselines have.

    A seed counts if a setting diverged with it, but not if a baseline diverged with it.
    """
    own = [{*runs.seeds, *runs.diverged} for curve, _ in pairs for runs in curve]
    return set.intersection(*own, *(set(base.seeds) for _, base in pairs))


def _has_learned(runs: Runs, metric: Metric) -> bool:
    """Return whether the level of a setting is better than chance."""
    chance = chance_level(runs.setting, metric.measure, UNEVEN)
    if chance is None or not runs.seeds:
        return False
    gain = metric(runs.matrix).mean() - chance
    return bool(gain > 0 if metric.higher else gain < 0)


def _by_scales(pair: Curve) -> Key:
    return tuple(pair[0][0].setting[name] for name in reversed(SCALES))


def _pool(
    frame: pd.DataFrame,
    pairs: Sequence[Curve],
    seeds: set[int],
    method: str,
    metric: Metric,
) -> Pool:
    """Return the pool of these curves and their baselines, with only these seeds."""
    all_runs = [runs for curve, _ in pairs for runs in curve]
    bases = [base for _, base in pairs]
    setting = all_runs[0].setting
    chance = chance_level(setting, metric.measure)
    assert chance is not None  # see `_has_learned`
    levels = [metric(base.select_seeds(seeds).matrix) for base in bases]
    measured = matrices(frame, bases, NORMS)
    sizes = [len(curve) for curve, _ in pairs]
    shares = []
    for (curve, _), level in zip(pairs, levels, strict=True):
        for runs in curve:
            own = dict(zip(runs.seeds, metric(runs.matrix), strict=True))
            ends = np.array([own.get(seed, chance) for seed in sorted(seeds)])
            shares.append((level - ends) / (level.mean() - chance))
    return Pool(
        names={"study": all_runs[0].study, "problem": setting["problem"]}
        | {"method": method},
        curve=np.repeat(np.arange(len(pairs)), sizes),
        inputs={
            name: np.array([runs.setting[name] for runs in all_runs], dtype=np.float64)
            for name in ("rho", *SCALES, "epochs")
        }
        | {
            name: np.repeat([own[name].mean() for own in measured], sizes)
            for name in NORMS
        },
        shares=np.reshape(shares, (len(all_runs), len(seeds))).T,
        levels=np.array([level.mean() for level in levels]),
    )


def _halves(pool: Pool) -> list[dict[str, Any]]:
    """Return the row of `Law.halves` of each curve."""
    rows = []
    for i, level in enumerate(pool.levels):
        own = pool.select(pool.curve == i)
        rho = own.inputs["rho"]
        share, lo, hi = mean_interval(own.shares)
        first = rho[lo > HALF].min(initial=np.inf)
        last = rho[(hi < HALF) & (rho < first)].max(initial=0)
        rows.append(
            pool.names
            | {
                **{name: own.inputs[name][0] for name in (*SCALES, "epochs")},
                "baseline_mean": level,
                **{"least_rho": rho[0], "most_rho": rho[-1]},
                **{"half": _crossing(rho, share), "lo": last, "hi": first},
                **{"lost": share[-1], "lost_lo": lo[-1], "lost_hi": hi[-1]},
            }
        )
    return rows


def _crossing(rho: Reals, share: Reals) -> float:
    """Return the rho at which `HALF` is lost, by a fit that never falls; see `law`."""
    from scipy import optimize

    curve = optimize.isotonic_regression(share).x
    after = int(np.searchsorted(curve, HALF))
    if after == len(curve):
        return np.inf
    if after == 0:
        return 0.0
    ends = slice(after - 1, after + 1)
    return float(np.exp(np.interp(HALF, curve[ends], np.log(rho[ends]))))


def _variables(pool: Pool) -> list[dict[str, Any]]:
    """Return the rows of `Law.variables` of a pool."""
    share = pool.share
    total = float(np.square(share - share.mean()).sum()) or float("nan")
    own = sum(map(isotonic_squares, pool.split(share)))
    noise = float("nan")
    if len(pool.shares) > 1:
        errors = standard_deviation(pool.shares) / np.sqrt(len(pool.shares))
        noise = float(np.square(errors).sum()) / total
    facts = {
        "noise": noise,
        "p_value": _p_value(pool),
        "settings": len(share),
        "curves": len(pool.levels),
        "seeds": len(pool.shares),
    }
    rows: list[dict[str, Any]] = []
    for name, variable in VARIABLES.items():
        rows.append({"variable": name} | _explain(pool, total, _always(variable)))
    free = _explain(pool, total, lambda part: _free(part, pool.scales))
    rows.append({"variable": FREE} | free | _exponents(pool))
    rows.append({"variable": OWN, "explained": 1 - own / total})
    return [pool.names | row | facts for row in rows]


def _explain(
    pool: Pool, total: float, learn: Callable[[Pool], Variable]
) -> dict[str, float]:
    """Return the columns explained, without_N and outside_N of a variable.

    without_N is 1 if the prediction for batch size N is perfect, and 0 if it is as good
    as the mean of the other batch sizes. Settings outside of the range of the fit are
    not predicted. `total` is the sum of the squared distances of the shares from their
    mean, and `learn` takes the settings to fit and returns the variable.
    """
    x = np.log(learn(pool)(pool.inputs))
    if np.isnan(x).any():
        return {"explained": float("nan")}
    row = {"explained": 1 - fit_monotone(x, pool.share, pool.width)[1] / total}
    sizes = np.unique(pool.inputs["batch_size"])
    for size in sizes if len(sizes) > 1 else []:
        left_out = pool.inputs["batch_size"] == size
        rest, left = pool.select(~left_out), pool.select(left_out)
        variable = learn(rest)
        x, at = (np.log(variable(part.inputs)) for part in (rest, left))
        explained, outside = float("nan"), float("nan")
        if not np.isnan(x).any():
            inside = (at >= x.min() - ROUNDING) & (at <= x.max() + ROUNDING)
            outside = float((~inside).sum())
            curve, _ = fit_monotone(x, rest.share, pool.width)
            share = left.share[inside]
            if len(share) > 1:
                mistakes = np.square(share - curve(at[inside])).sum()
                mean = np.square(share - rest.share.mean()).sum()
                explained = float(1 - mistakes / mean)
        row |= {f"without_{size:g}": explained, f"outside_{size:g}": outside}
    return row


def _always(variable: Variable) -> Callable[[Pool], Variable]:
    """Return a function that returns `variable` for every pool."""
    return lambda pool: variable


def _free(pool: Pool, scales: list[str]) -> Variable:
    """Return the variable with the best exponents of the columns in `scales`."""
    exponents = _fit(pool, scales)

    def variable(values: dict[str, Reals]) -> Reals:
        powers = [values[name] ** e for name, e in zip(scales, exponents, strict=True)]
        return np.asarray(values["rho"] / np.prod(powers, axis=0))

    return variable


def _fit(pool: Pool, scales: list[str]) -> Reals:
    """Return the best exponents; NaN if these settings do not determine them."""
    factors = np.stack([np.log(pool.inputs[name]) for name in scales], axis=1)
    if np.linalg.matrix_rank(factors - factors.mean(axis=0)) < len(scales):
        return np.full(len(scales), np.nan)
    x = np.log(pool.inputs["rho"])
    return fit_exponents(x, factors, pool.share, pool.width)


def _exponents(pool: Pool) -> dict[str, float]:
    """Return the exponents, with an interval over seeds and one over curves."""
    scales = pool.scales
    best = _fit(pool, scales)

    def of_seeds(seeds: Sequence[int]) -> Reals:
        return _fit(attrs.evolve(pool, shares=pool.shares[list(seeds)]), scales)

    def of_curves(curves: Sequence[int]) -> Reals:
        return _fit(pool.select(np.isin(pool.curve, curves)), scales)

    over_seeds = jackknife(of_seeds, len(pool.shares))
    over_curves = jackknife(of_curves, len(pool.levels))
    row = {}
    for i, scale in enumerate(scales):
        name = EXPONENTS[scale]
        row[name] = float(best[i])
        for kind, ends in (("", over_seeds), ("_curves", over_curves)):
            lo, hi = (float(end[i]) for end in ends)
            # the best exponent is possibly beyond the end of the search
            if abs(best[i]) > REACH - NEAR:
                lo = hi = float("nan")
            row |= {f"{name}{kind}_lo": lo, f"{name}{kind}_hi": hi}
    return row


def _p_value(pool: Pool) -> float:
    """Return the p-value of the hypothesis that rho has no effect.

    The p-value is from a permutation test: it is the fraction of orders of rho,
    including the real order, that explain at least as much as the real order. The
    values of rho are shuffled within each curve and seed, because all shares of a curve
    and seed contain the same result of SGD. If rho has no effect, all orders are
    equally likely, so the test is exact.
    """
    random = np.random.default_rng(0)
    parts = [pool.shares[:, pool.curve == i] for i in np.unique(pool.curve)]

    def explained(parts: list[Reals]) -> float:
        means = [part.mean(axis=0) for part in parts]
        return sum(
            float(np.square(mean - mean.mean()).sum()) - isotonic_squares(mean)
            for mean in means
        )

    real = explained(parts) - ROUNDING
    as_good = sum(
        explained([random.permuted(part, axis=1) for part in parts]) >= real
        for _ in range(DRAWS)
    )
    return (1 + as_good) / (1 + DRAWS)
