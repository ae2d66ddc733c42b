"""Compute a band that contains a whole mean curve over the tasks with 95%.

An interval per task (`analysis.statistics.intervals.mean_interval`) contains the true
mean of that task with 95%. Of 100 such intervals some miss, so they do not tell whether
a curve leaves zero anywhere. A simultaneous band contains the means of all tasks.

The band is mean ± q s / sqrt(n) at each task, where s is the standard deviation of the
n runs. The critical value q is the 95% quantile of the largest |mean| sqrt(n) / s over
the tasks, in simulated normal samples without effect ("sup-t", Montiel Olea &
Plagborg-Møller 2019). Every sample has its own s at every task, because with few runs a
small s by luck is what makes the largest ratio.

The samples need the correlation of the tasks. A few runs do not give it for every pair,
so it is taken to depend only on the distance of two tasks: a part that all tasks of a
run share (the seed), a part that fades along the stream, and noise of each task. The
parts are fitted to the mean sample correlation at each distance.

In simulations with 5 and 10 runs of 20 to 100 tasks (independent tasks, fading
correlation of 0.5 to 0.99, shared parts, slopes per seed, heavy tails, a standard
deviation that differs between tasks), the band covers 93% to 98%, and 95% on average.
With 10 runs of exponential noise, which is very skewed, it covers 90%. These cover
less:

- sign flips of the residuals (Rademacher bootstrap): 87% to 94% with 5 runs;
- normal samples with the sample correlation of every pair: 90% to 96%;
- one standard deviation for all tasks of a sample (multivariate t): 43% to 86%;
- a standard deviation smoothed along the stream: 90% to 97%, with narrower bands.
"""

from __future__ import annotations

import functools

import numpy as np

from analysis.statistics.intervals import Interval, Reals, mean_interval

LEVEL = 0.95
"""The probability that the whole curve lies inside the band."""

DRAWS = 2000
"""The number of simulated samples."""

SAMPLES_PER_BLOCK = 250
"""The number of samples in memory at the same time."""


def simultaneous_band(values: Reals) -> Interval:
    """Return the mean over the runs and a 95% band for the whole curve.

    The result is deterministic. For a single task it is `mean_interval`. A task whose
    runs are all equal has a band of width zero.

    Args:
        values: Shape (runs, tasks), for example paired differences, a row per seed. A
            task with a NaN gets NaN and does not count.

    Returns:
        Mean, lower end and upper end, each of shape (tasks,), in the unit of `values`.
        With fewer than two runs, both ends are NaN.

    >>> values = np.array([[4.0, 1.0], [5.0, 1.0], [6.0, 1.0]])
    >>> [end.round(2).tolist() for end in simultaneous_band(values)]
    [[5.0, 1.0], [2.52, 1.0], [7.48, 1.0]]
    """
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    mean, lo, hi = mean_interval(values)
    varies = hi > lo
    if not varies.any():
        return Interval(mean, lo, hi)
    from scipy import special

    residuals = values[:, varies] - mean[varies]
    residuals /= residuals.std(axis=0, ddof=1)
    ratio = _critical_value(residuals) / special.stdtrit(n - 1, (1 + LEVEL) / 2)
    return Interval(mean, mean - ratio * (mean - lo), mean + ratio * (hi - mean))


def _critical_value(residuals: Reals) -> float:
    """Return the critical value q for residuals of unit variance, (runs, tasks)."""
    from scipy import special

    n, tasks = residuals.shape
    # One task and independent tasks (Bonferroni) are the two extremes.
    tails = (1 - LEVEL) / 2 / np.array([1, tasks])
    least, most = -special.stdtrit(n - 1, tails)
    if tasks == 1:
        return float(least)
    correlation = _fit_correlation(_mean_correlation_by_distance(residuals))
    distance = np.abs(np.subtract.outer(np.arange(tasks), np.arange(tasks)))
    sizes, vectors = np.linalg.eigh(correlation[distance])
    root = (vectors * np.sqrt(np.maximum(sizes, 0))).T.astype(np.float32)
    random = np.random.default_rng(0)
    largest = [
        _largest_ratios(random.standard_normal((block, n, tasks), np.float32) @ root)
        for block in [SAMPLES_PER_BLOCK] * (DRAWS // SAMPLES_PER_BLOCK)
    ]
    return float(np.clip(np.quantile(np.concatenate(largest), LEVEL), least, most))


def _largest_ratios(samples: np.typing.NDArray[np.float32]) -> Reals:
    """Return the largest |mean| sqrt(n) / s of samples of shape (samples, n, tasks)."""
    n = samples.shape[1]
    ratio = np.abs(samples.mean(axis=1)) / samples.std(axis=1, ddof=1)
    return np.asarray(np.sqrt(n) * ratio.max(axis=1), dtype=np.float64)


def _mean_correlation_by_distance(residuals: Reals) -> Reals:
    """Return the mean sample correlation of two tasks by their distance, (tasks,)."""
    n, tasks = residuals.shape
    # The Fourier transform of the autocovariance is the squared modulus of the series'
    # (Wiener-Khinchin); the padding with zeros keeps the ends apart.
    spectrum = np.abs(np.fft.rfft(residuals, 2 * tasks, axis=1)) ** 2
    sums = np.fft.irfft(spectrum.sum(axis=0), 2 * tasks)[:tasks]
    return np.asarray(sums / (n - 1) / np.arange(tasks, 0, -1))


def _fit_correlation(observed: Reals) -> Reals:
    """Return the correlation by distance: shared part + fading part + noise.

    r(0) = 1 and r(k) = a + b exp(-k / length) for k > 0, with a, b >= 0 and a + b <= 1.
    Least squares, where each distance counts as often as it occurs.

    Args:
        observed: The mean sample correlation by distance, shape (tasks,).
    """
    from scipy import optimize

    tasks = len(observed)
    weights = np.sqrt(np.arange(tasks - 1, 0, -1))
    best = (np.inf, observed)
    for fading in _fading_parts(tasks):
        parts = np.stack([np.ones(tasks), fading], axis=1)
        sizes, _ = optimize.nnls(parts[1:] * weights[:, None], observed[1:] * weights)
        fit = parts @ (sizes / max(1, sizes.sum()))
        error = float(np.linalg.norm((fit - observed)[1:] * weights))
        best = min(best, (error, fit), key=lambda pair: pair[0])
    correlation = best[1].copy()
    correlation[0] = 1
    return correlation


@functools.cache
def _fading_parts(tasks: int) -> list[Reals]:
    """Return exp(-k / length) for distances k < tasks, one array per length."""
    lengths = np.geomspace(0.5, 2 * tasks, 14)
    return [np.exp(-np.arange(tasks) / length) for length in lengths]
