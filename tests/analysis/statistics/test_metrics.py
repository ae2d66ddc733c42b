import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.statistics.metrics import (
    MEASURES,
    METRICS,
    RELATIVE,
    accuracy_area,
    accuracy_change,
    accuracy_slope,
    find_metric,
    late_accuracy,
    peak_loss,
    plasticity_loss,
)
from analysis.tables.words import unit_of_level
from trainables.usage import UsageError

ENDS = ("accuracy_change", "first_accuracy", "last_accuracy")
PER_TASK = ("accuracy_change", "accuracy_slope")
TRENDS = (*PER_TASK, "plasticity_loss", "peak_loss")
ACCURACY = st.floats(0, 1, allow_subnormal=False)


def trajectories(shortest=2):
    shapes = st.tuples(st.integers(1, 5), st.integers(shortest, 30))
    return shapes.flatmap(lambda shape: arrays(float, shape, elements=ACCURACY))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("late_accuracy", 0.711),
        ("accuracy_change", -0.002),
        ("accuracy_slope", -0.002),
        ("mean_accuracy", 0.801),
        ("first_accuracy", 0.9),
        ("last_accuracy", 0.702),
        ("plasticity_loss", 0.18),
        ("peak_loss", 0.18),
        ("accuracy_area", 0.801),
    ],
)
def test_a_line_has_known_metrics(name, expected):
    line = 0.9 - 0.002 * np.arange(100)
    assert METRICS[name](line[None]) == pytest.approx([expected])


def test_every_metric_has_a_closed_form():
    cases = test_a_line_has_known_metrics.pytestmark[0].args[1]
    assert [name for name, _ in cases] == list(METRICS)


def test_change_is_the_mean_of_the_steps():
    values = np.random.default_rng(0).random((3, 10))
    assert accuracy_change(values) == pytest.approx(np.diff(values).mean(axis=1))


def test_slope_is_that_of_polyfit():
    values = np.random.default_rng(1).random((3, 17))
    expected = np.polyfit(np.arange(17), values.T, 1)[0]
    assert accuracy_slope(values) == pytest.approx(expected)


def test_plasticity_loss_looks_at_whole_tenths():
    values = np.zeros((1, 29))
    values[:, :2], values[:, -2:] = 0.75, 0.5
    assert plasticity_loss(values) == pytest.approx([0.25])
    assert plasticity_loss(np.array([[0.9, 0.1, 0.4]])) == pytest.approx([0.5])


def test_the_late_level_is_that_of_the_last_whole_tenth():
    values = np.zeros((1, 29))
    values[:, -2:] = 0.5, 0.75
    assert late_accuracy(values) == pytest.approx([0.625])
    assert late_accuracy(np.array([[0.9, 0.1, 0.4]])) == pytest.approx([0.4])


@given(values=trajectories())
def test_the_peak_is_the_best_tenth_wherever_it_is(values):
    k = max(1, values.shape[1] // 10)
    starts = range(values.shape[1] - k + 1)
    peak = np.max([values[:, i : i + k].mean(axis=1) for i in starts], axis=0)
    assert peak_loss(values) == pytest.approx(peak - late_accuracy(values), abs=1e-12)


@given(values=trajectories())
def test_a_peak_loses_at_least_as_much_as_the_start(values):
    assert (peak_loss(values) >= plasticity_loss(values) - 1e-12).all()
    assert (peak_loss(values) >= -1e-12).all()


def test_only_the_peak_sees_a_fall_that_follows_a_rise():
    rise = np.concatenate([np.linspace(0.5, 0.9, 50), np.linspace(0.9, 0.5, 50)])
    assert plasticity_loss(rise[None]) == pytest.approx([0], abs=1e-12)
    assert accuracy_slope(rise[None]) == pytest.approx([0], abs=1e-12)
    assert peak_loss(rise[None])[0] > 0.3


def test_area_is_that_of_the_trapezoids():
    values = np.random.default_rng(2).random((3, 12))
    expected = np.trapezoid(values, dx=1 / 11, axis=1)
    assert accuracy_area(values) == pytest.approx(expected)


@given(values=trajectories())
def test_area_is_the_mean_but_for_the_ends(values):
    tasks = values.shape[1]
    ends = (values[:, 0] + values[:, -1]) / 2
    mean = ((tasks - 1) * accuracy_area(values) + ends) / tasks
    assert mean == pytest.approx(METRICS["mean_accuracy"](values), abs=1e-12)


@pytest.mark.parametrize("name", [name for name in METRICS if name != "peak_loss"])
@given(values=trajectories(), other=st.floats(0, 1))
def test_every_metric_but_the_peak_is_linear(name, values, other):
    """So a difference of two settings does not depend on what is taken off both."""
    taken = other * np.sin(np.arange(values.shape[1]))
    metric = METRICS[name]
    expected = metric(values) - metric(taken[None])
    assert metric(values - taken) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_more_is_better_or_worse_as_the_metric_says(name):
    """A run that keeps its accuracy, on a high level, is better than one that falls."""
    kept, fell = np.full(20, 0.9), np.linspace(0.8, 0.5, 20)
    metric = METRICS[name]
    better, worse = metric(np.stack([kept, fell]))
    assert (better > worse) == metric.higher


@pytest.mark.parametrize("name", METRICS)
def test_a_longer_stream_has_less_of_what_is_per_task(name):
    metric = METRICS[name]
    short, long = (metric(np.linspace(1, 0, tasks)[None])[0] for tasks in (11, 101))
    assert metric.per_task == (0 < abs(long) < abs(short) / 5)
    assert unit_of_level(metric).endswith("over stream") == metric.per_task


@pytest.mark.parametrize("name", [*TRENDS, "accuracy_area"])
def test_of_a_single_task_no_trend_is_known(name):
    assert np.isnan(METRICS[name](np.array([[0.5], [0.6]]))).tolist() == [True, True]


@pytest.mark.parametrize("name", METRICS)
def test_no_runs_give_no_numbers(name):
    assert METRICS[name](np.empty((0, 5))).shape == (0,)


@pytest.mark.parametrize("name", METRICS)
def test_a_hole_gives_nan_in_its_run_only(name):
    values = np.full((2, 5), 0.5)
    values[0, [0, -1]] = np.nan
    assert np.isnan(METRICS[name](values)).tolist() == [True, False]


@pytest.mark.parametrize("name", METRICS)
@given(values=trajectories())
def test_runs_do_not_touch_each_other(name, values):
    metric = METRICS[name]
    alone = [float(metric(values[i : i + 1])[0]) for i in range(len(values))]
    assert metric(values) == pytest.approx(alone, abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
@given(values=trajectories())
def test_input_is_left_alone(name, values):
    before = values.copy()
    METRICS[name](values)[:] = 7
    assert np.array_equal(values, before)


@pytest.mark.parametrize("name", ENDS)
@given(values=trajectories(3), middle=ACCURACY)
def test_the_ends_do_not_see_the_middle(name, values, middle):
    changed = values.copy()
    changed[:, 1:-1] = middle
    assert np.array_equal(METRICS[name](values), METRICS[name](changed))


@given(values=trajectories(3))
def test_the_slope_sees_the_middle(values):
    changed = values.copy()
    changed[:, 1] += 1
    tasks = values.shape[1]
    moved = accuracy_slope(changed) - accuracy_slope(values)
    t = np.arange(tasks) - (tasks - 1) / 2
    assert moved == pytest.approx(t[1] / (t @ t), abs=1e-9)


@pytest.mark.parametrize("name", TRENDS)
@given(values=trajectories(), level=st.floats(-1, 1))
def test_a_trend_does_not_depend_on_the_level(name, values, level):
    metric = METRICS[name]
    assert metric(values + level) == pytest.approx(metric(values), abs=1e-9)


@pytest.mark.parametrize("name", [*PER_TASK, "plasticity_loss"])
@given(values=trajectories())
def test_a_trend_backwards_is_its_opposite(name, values):
    metric = METRICS[name]
    assert metric(values[:, ::-1]) == pytest.approx(-metric(values), abs=1e-9)


@given(level=ACCURACY, tasks=st.integers(2, 50))
def test_a_constant_has_no_trend_at_all(level, tasks):
    flat = np.full((2, tasks), level)
    assert accuracy_slope(flat).tolist() == accuracy_change(flat).tolist() == [0, 0]


def test_a_trend_says_that_it_is_one():
    """A network that never learns has a trend of 0, which only a trend rewards."""
    trends = {name for name, metric in METRICS.items() if metric.trend}
    assert trends == set(TRENDS)


@pytest.mark.parametrize("name", METRICS)
@given(values=trajectories())
def test_a_trend_has_the_level_beside_it_and_a_level_the_trend(name, values):
    metric, tasks = METRICS[name], values.shape[1]
    slope = (tasks - 1) * accuracy_slope(values)
    expected = late_accuracy(values) if metric.trend else slope
    assert metric.beside(values) == pytest.approx(expected, abs=1e-12)


@given(values=trajectories())
def test_a_rate_over_the_stream_is_what_an_accuracy_can_change_by(values):
    """So no table shows a change of more than 100 points, or a slope of more than 150.

    The steepest least-squares line is that of a step in the middle of the stream.
    """
    tasks = values.shape[1]
    change, slope = METRICS["accuracy_change"], METRICS["accuracy_slope"]
    difference = values[:, -1] - values[:, 0]
    assert change.steps(tasks) * change(values) == pytest.approx(difference, abs=1e-12)
    assert (np.abs(slope.steps(tasks) * slope(values)) <= 1.5).all()
    line = np.linspace(0.9, 0.2, tasks)[None]
    assert slope.steps(tasks) * slope(line) == pytest.approx([-0.7])


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_can_be_of_every_measure(name):
    metric = METRICS[name]
    for measure, entry in MEASURES.items():
        other = find_metric(name, measure)
        assert (other.measure, other.name) == (measure, name)
        # Of a loss less is better, so what was good in an accuracy is bad in it.
        assert other.higher == (metric.higher == entry.higher)
        assert (other.level.measure, other.level.trend) == (measure, False)
        assert other.of(metric.measure) == metric
        assert entry.words in other.words or measure == "test_accuracy"
        assert entry.words in other.definition
        assert ("accuracy" in other.definition) == ("accuracy" in entry.words)


@pytest.mark.parametrize("name", METRICS)
def test_a_relative_metric_has_a_relative_level(name):
    metric = RELATIVE[f"relative_{name}"]
    assert metric.relative
    assert metric.level == RELATIVE["relative_late_accuracy"]
    assert metric.absolute.name == name
    assert metric.level.absolute == METRICS["late_accuracy"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("late_acuracy",), "unknown metric .* did you mean 'late_accuracy'"),
        (("late_accuracy", "test_acc"), "unknown measure .* 'test_accuracy'"),
    ],
)
def test_an_unknown_name_offers_the_nearest(names, message):
    with pytest.raises(UsageError, match=message):
        find_metric(*names)
