"""The law of rho: in which variable do the curves of all step sizes fall on one?

A curve has the settings that differ only in rho (`analysis.comparing.dose`). Each
setting has the share that it lost of what SGD learned above chance:

    (SGD's level - level) / (SGD's level - chance)

It is 0 for a setting that is as good as SGD and 1 for a network that died. Curves that
never die, or always do, need no rule of their own: their shares are numbers as others
are. The share is not cut off at 0 and 1, so that noise has a mean of 0. A run that
diverged lost everything.

All curves of a method on a problem are a pool. A variable, for example rho / lr, is a
law if one curve over it, which never falls, explains the shares of the whole pool as
well as a curve for each step size and batch size does. A variable may explain a pool by
luck, so its curve is also fitted without one batch size, which it then predicts.

The free variable rho / (lr^a batch^b) has the exponents that explain most. Its two
intervals answer two questions: would other seeds give other exponents (seeds are
paired, so a seed is one unit in all settings), and would other step sizes and batch
sizes (a curve is one unit)?
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

from analysis.comparing.chance import UNEVEN, chance_level
from analysis.comparing.compare import Question
from analysis.comparing.dose import curves, without
from analysis.records.runs import Runs, by_setting, labels, matrices
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
"""The hyperparameters that rho may have to follow, and the names of their exponents."""

SCALES = tuple(EXPONENTS)

NORMS = ("gradient_norm", "weight_norm")
"""The measures of the matched SGD that a variable may use: means over its stream.

Those of SGD, because those of a network that died are an effect and no cause.
"""

FREE, OWN = "rho / (lr^a batch^b)", "own curves"
"""The variable with the best exponents, and what no variable can surpass."""

HALF = 0.5
"""The share that `halves` looks for."""

NEAR = 0.01
"""An exponent so near to the end of the search (`REACH`) has no interval."""

ROUNDING = 1e-9
"""How far logarithms of equal numbers may differ."""

DRAWS = 199
"""How often rho is shuffled to see what chance explains."""

POOL = ["study", "problem", "method"]
"""The columns with the same values in all rows of a pool."""


@attrs.frozen(kw_only=True, eq=False)
class Pool:
    """The curves of one method on one problem; n is the number of settings.

    Attributes:
        names: The study, the problem and the method: the label without rho, lr, batch
            size and epochs.
        curve: The number of the curve of each setting, shape (n,).
        inputs: rho, lr, batch_size, epochs, and the `NORMS` of the matched SGD (NaN if
            not measured), each of shape (n,).
        shares: The share that each setting lost with each seed, shape (seeds, n).
        levels: The level of the matched SGD of each curve, shape (curves,).
    """

    names: dict[str, str]
    curve: npt.NDArray[np.int64]
    inputs: dict[str, Reals]
    shares: Reals
    levels: Reals

    def select(self, settings: npt.NDArray[np.bool_]) -> Pool:
        """Return the pool with only some of its settings, shape (n,)."""
        return attrs.evolve(
            self,
            curve=self.curve[settings],
            inputs={name: values[settings] for name, values in self.inputs.items()},
            shares=self.shares[:, settings],
        )

    def of_seeds(self, seeds: Sequence[int]) -> Pool:
        """Return the pool with only some rows of `shares`, by number."""
        return attrs.evolve(self, shares=self.shares[list(seeds)])

    @property
    def share(self) -> Reals:
        """The mean over the seeds, shape (n,)."""
        return np.asarray(self.shares.mean(axis=0))

    @property
    def scales(self) -> list[str]:
        """The columns of `SCALES` that have several values."""
        return [name for name in SCALES if len(np.unique(self.inputs[name])) > 1]

    @property
    def width(self) -> float:
        """The usual distance of two neighbours on a curve, in log rho."""
        gaps = [np.diff(np.log(own)) for own in self.split(self.inputs["rho"])]
        return float(np.median(np.concatenate(gaps))) if any(map(len, gaps)) else 1.0

    def split(self, values: Reals) -> list[Reals]:
        """Return the values of each curve, sorted by rho."""
        return [values[self.curve == i] for i in np.unique(self.curve)]


Variable = Callable[[dict[str, Reals]], Reals]
"""Returns a variable from `Pool.inputs`, positive and of shape (n,)."""

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
"""The variables that may be the law. To add one, add a line.

rho times the gradient norm is the rise of the loss along the ascent, to first order;
rho / (lr gradient norm) is the length of the ascent by that of SGD's own step.
"""


@attrs.frozen
class Law:
    """What `law` returns."""

    halves: pd.DataFrame
    variables: pd.DataFrame


def law(frame: pd.DataFrame, question: Question) -> Law:
    """Return where networks die, and which variable explains it.

    `halves` has a row per curve. Columns: those of `POOL`; lr, batch_size and epochs;
    baseline_mean, the level of SGD; least_rho, most_rho; half, the rho at which half of
    what SGD learned above chance is lost, interpolated in log rho (0 if it is below the
    least, infinite if it is above the largest); lo and hi, values of rho that were run:
    with 95%, less than half is lost at lo and more at hi (0 or infinite if there is
    none); lost, lost_lo, lost_hi, the share at the largest rho.

    `variables` has a row per pool and variable. Columns: those of `POOL`; variable;
    explained, the part of the variance of the shares between settings; for each batch
    size N without_N, the same for the settings with this batch size from a curve that
    was fitted without them, inside of its range, and outside_N, how many are outside;
    a, b, their ends over seeds (a_lo, a_hi) and over curves (a_curves_lo, ...), which
    only the row `FREE` has; noise, the part that the noise of the means explains;
    p_value, of the hypothesis that rho does nothing; settings, curves and seeds, their
    numbers. The row `OWN` explains as much as any variable could.

    A curve is left out if SGD itself is at chance: it has nothing to lose.

    Args:
        frame: Records with `analysis.records.runs.NEEDED`, `NORMS` and the metric's
            measure.
        question: The metric, which must be a level, the study and the problem.

    Raises:
        UsageError: There are not two curves to compare.
    """
    pools = _pools(frame, question)
    if not pools:
        raise UsageError(
            "there are no curves to compare: that takes SAM, or another optimizer with "
            "a rho, with at least two learning rates or batch sizes, and SGD with each "
            "of them"
        )
    halves = [row for pool in pools for row in _halves(pool)]
    variables = [row for pool in pools for row in _variables(pool)]
    return Law(pd.DataFrame(halves), pd.DataFrame(variables))


def _pools(frame: pd.DataFrame, question: Question) -> list[Pool]:
    settings = [
        runs
        for runs in by_setting(frame, question.metric.measure)
        if question.study in (None, runs.study)
        and question.problem in (None, runs.setting["problem"])
    ]
    groups: dict[tuple[Any, ...], list[tuple[list[Runs], Runs]]] = defaultdict(list)
    for curve, baseline in curves(settings):
        known = None not in _by_scales((curve, baseline))
        # a setting without a finished run would take the seeds from all others
        known &= all(runs.seeds or runs.diverged for runs in curve)
        if known and _has_learned(baseline, question.metric):
            method = without(curve[0].setting, "rho", *SCALES, "epochs")
            groups[curve[0].study, *method.values()].append((curve, baseline))
    own = [
        sorted(pairs, key=_by_scales)
        for pairs in groups.values()
        if len(set(map(_by_scales, pairs))) > 1
    ]
    pools: list[Pool] = []
    # The label of a method depends only on the methods of its study and problem.
    for _, part in itertools.groupby(own, lambda pairs: pairs[0][0][0].peers[:2]):
        alike = list(part)
        methods = [
            without(pairs[0][0][0].setting, "rho", *SCALES, "epochs") for pairs in alike
        ]
        for pairs, name in zip(alike, labels(methods), strict=True):
            if seeds := _common_seeds(pairs):
                pools.append(_pool(frame, pairs, seeds, name, question.metric))
    return pools


def _common_seeds(pairs: Sequence[tuple[list[Runs], Runs]]) -> set[int]:
    """Return the seeds of all curves and baselines; a run may have diverged."""
    own = [{*runs.seeds, *runs.diverged} for curve, _ in pairs for runs in curve]
    return set.intersection(*own, *(set(base.seeds) for _, base in pairs))


def _has_learned(runs: Runs, metric: Metric) -> bool:
    """Return whether the level of a setting is better than chance."""
    chance = chance_level(runs.setting, metric.measure, UNEVEN)
    if chance is None or not runs.seeds:
        return False
    gain = metric(runs.matrix).mean() - chance
    return bool(gain > 0 if metric.higher else gain < 0)


def _by_scales(pair: tuple[list[Runs], Runs]) -> tuple[Any, ...]:
    return tuple(pair[0][0].setting[name] for name in reversed(SCALES))


def _pool(
    frame: pd.DataFrame,
    pairs: Sequence[tuple[list[Runs], Runs]],
    seeds: set[int],
    method: str,
    metric: Metric,
) -> Pool:
    """Return the pool of some curves, each with its baseline, on some seeds."""
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
    """Return the rho at which a curve that never falls has lost half; see `law`."""
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
    """Return the columns explained, without_B and outside_B of a variable.

    1 is a perfect prediction of a batch size, and 0 is as good as the mean of the other
    batch sizes. Nothing is said of settings outside of the range of the fit.

    Args:
        pool: The settings.
        total: The sum of squares to explain.
        learn: Returns the variable from the settings to which a curve is fitted.
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
    """Return a function that learns nothing, and returns a variable."""
    return lambda pool: variable


def _free(pool: Pool, scales: list[str]) -> Variable:
    """Return the variable with the best exponents of some columns of `SCALES`."""
    exponents = _fit(pool, scales)

    def variable(values: dict[str, Reals]) -> Reals:
        powers = [values[name] ** e for name, e in zip(scales, exponents, strict=True)]
        return np.asarray(values["rho"] / np.prod(powers, axis=0))

    return variable


def _fit(pool: Pool, scales: list[str]) -> Reals:
    """Return the best exponents; NaN if these settings cannot tell them apart."""
    factors = np.stack([np.log(pool.inputs[name]) for name in scales], axis=1)
    if np.linalg.matrix_rank(factors - factors.mean(axis=0)) < len(scales):
        return np.full(len(scales), np.nan)
    x = np.log(pool.inputs["rho"])
    return fit_exponents(x, factors, pool.share, pool.width)


def _exponents(pool: Pool) -> dict[str, float]:
    """Return the exponents, with an interval over seeds and one over curves."""
    scales = pool.scales
    best = _fit(pool, scales)
    over_seeds = jackknife(
        lambda seeds: _fit(pool.of_seeds(seeds), scales), len(pool.shares)
    )
    over_curves = jackknife(
        lambda curves: _fit(pool.select(np.isin(pool.curve, curves)), scales),
        len(pool.levels),
    )
    row = {}
    for i, scale in enumerate(scales):
        name = EXPONENTS[scale]
        row[name] = float(best[i])
        for kind, ends in (("", over_seeds), ("_curves", over_curves)):
            lo, hi = (float(end[i]) for end in ends)
            if abs(best[i]) > REACH - NEAR:  # the best one may lie further out
                lo = hi = float("nan")
            row |= {f"{name}{kind}_lo": lo, f"{name}{kind}_hi": hi}
    return row


def _p_value(pool: Pool) -> float:
    """Return how often shuffled values of rho explain as much as the real ones do.

    They are shuffled within each curve and seed, which share SGD's luck. If rho does
    nothing, all orders are equally likely, so the test is exact.
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
