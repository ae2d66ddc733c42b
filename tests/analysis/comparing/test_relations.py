import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.comparing.relations import ALL, BETWEEN, relation, spearman
from analysis.statistics.intervals import mean_interval
from analysis.tables.formats import FORMATS
from analysis.tables.relations import print_relation, relation_sheets
from tests.support.synthetic import make_run, make_setting, write
from trainables.usage import UsageError

TASKS = 12
PROBE = "start_sharpness"
RATES = (0.1, 0.03, 0.01, 0.003, 0.001)


def run(lr, seed, probe, accuracy, **more):
    """A run of these probes and accuracies, a NaN being a task not measured."""
    made = make_run(make_setting(lr=lr, tasks=TASKS), seed, accuracy=accuracy, **more)
    frame = made.to_pandas()
    frame[PROBE] = np.where(frame["diverged"], np.nan, np.asarray(probe)[: len(frame)])
    return frame


def study(probe, accuracy, seeds=range(4), rates=RATES):
    """A study whose probe and accuracy are functions of (setting, seed)."""
    return pd.concat(
        [
            run(lr, seed, probe(i, seed), accuracy(i, seed))
            for i, lr in enumerate(rates)
            for seed in seeds
        ],
        ignore_index=True,
    )


def row(data, label):
    (found,) = data[data["label"] == label].to_dict("records")
    return found


VALUES = st.lists(st.integers(0, 9), min_size=4, max_size=15)


@given(VALUES, st.integers(0, 10**6))
def test_it_is_scipys(values, seed):
    x = np.array(values, dtype=float)
    y = np.random.default_rng(seed).integers(0, 6, len(x)).astype(float)
    got = spearman(x[None], y[None])[0]
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert np.isnan(got)
    else:
        assert got == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
        assert spearman(np.exp(x)[None], 5 - y[None])[0] == pytest.approx(-got)


def test_places_without_a_measurement_do_not_count():
    x = np.array([[1, np.nan, 2, 3, 4, 9.0], [1, 2, 3, np.nan, np.nan, np.nan]])
    y = np.array([[1, 7, 3, 2, np.nan, 5.0], [1, 2, 3, 4, 5, 6]])
    got = spearman(x, y)
    assert got[0] == pytest.approx(stats.spearmanr([1, 2, 3, 9], [1, 3, 2, 5])[0])
    assert np.isnan(got[1])  # three are too few


def test_a_partial_correlation_is_that_of_the_residuals():
    random = np.random.default_rng(0)
    z = np.arange(20.0)
    x, y = z + random.normal(0, 4, 20), -z + random.normal(0, 4, 20)
    ranks = [stats.rankdata(values) for values in (x, y, z)]
    x_left, y_left = (
        r - np.polyval(np.polyfit(ranks[2], r, 1), ranks[2]) for r in ranks[:2]
    )
    expected = np.corrcoef(x_left, y_left)[0, 1]
    got = spearman(x[None], y[None], z[None])[0]
    assert got == pytest.approx(expected)
    assert abs(got) < 0.7 < abs(spearman(x[None], y[None])[0])


def test_what_only_drifts_along_the_stream_has_no_partial_correlation():
    random = np.random.default_rng(0)

    def drift(sign):
        return lambda i, seed: (
            0.5 + sign * (np.arange(TASKS) / 30 + random.normal(0, 0.05, TASKS))
        )

    data = relation(study(drift(1), drift(-1), seeds=range(20)), [PROBE])
    found = row(data, ALL)
    assert found["spearman_hi"] < -0.3
    assert found["partial_lo"] < 0 < found["partial_hi"]


def test_a_confounder_between_settings_does_not_pass_for_a_cause():
    """The learning rate moves both; within a setting they have nothing to do."""
    random = np.random.default_rng(1)
    noise = lambda: random.normal(0, 0.01, TASKS)  # noqa: E731
    data = relation(
        study(
            lambda i, seed: 10 + i + noise(),
            lambda i, seed: 0.9 - 0.05 * i + noise(),
            seeds=range(10),
        ),
        [PROBE],
    )
    between, within = row(data, BETWEEN), row(data, ALL)
    assert between["spearman"] == pytest.approx(-1)
    assert (between["points"], between["runs"]) == (5, 10)
    assert within["spearman_lo"] < 0 < within["spearman_hi"]
    assert within["points"] == TASKS - 1


def test_a_relation_within_is_seen_where_settings_hide_it():
    random = np.random.default_rng(2)
    drawn = {}

    def probe(i, seed):
        drawn[i, seed] = random.normal(0, 0.01, TASKS)
        return 10 + i + drawn[i, seed]

    data = relation(
        study(probe, lambda i, seed: 0.5 + 0.05 * i - drawn[i, seed]), [PROBE]
    )
    assert row(data, ALL)["spearman"] == pytest.approx(-1)
    assert row(data, ALL)["partial"] == pytest.approx(-1, abs=0.05)
    assert row(data, BETWEEN)["spearman"] == pytest.approx(1)


def test_intervals_are_over_seeds():
    random = np.random.default_rng(3)
    frame = study(
        lambda i, seed: random.normal(0, 1, TASKS),
        lambda i, seed: random.uniform(0, 1, TASKS),
    )
    data = relation(frame, [PROBE], skip=2)
    single = np.full((len(RATES), 4), np.nan)
    for i, lr in enumerate(RATES):
        for seed in range(4):
            mine = frame[(frame["lr"] == lr) & (frame["seed"] == seed)].iloc[2:]
            single[i, seed] = stats.spearmanr(mine[PROBE], mine["test_accuracy"])[0]
        found = row(data, f"SGD lr {lr:g}")
        expected = mean_interval(single[i])
        got = [found["spearman" + end] for end in ("", "_lo", "_hi")]
        assert got == pytest.approx([float(value) for value in expected])
        assert (found["points"], found["runs"]) == (TASKS - 2, 4)
    expected = mean_interval(single.mean(axis=0))
    got = [row(data, ALL)["spearman" + end] for end in ("", "_lo", "_hi")]
    assert got == pytest.approx([float(value) for value in expected])


def test_tasks_that_were_not_probed_do_not_count():
    probe = np.full(TASKS, np.nan)
    probe[[0, 3, 6, 9, 11]] = [5, 1, 2, 3, 4]
    accuracy = np.full(TASKS, 0.3)
    accuracy[[0, 3, 6, 9, 11]] = [0.0, 0.1, 0.2, 0.3, 0.4]
    frame = study(lambda i, seed: probe, lambda i, seed: accuracy)
    skipped, whole = (relation(frame, [PROBE], skip) for skip in (1, 0))
    assert row(skipped, ALL)["spearman"] == pytest.approx(1)
    assert row(skipped, ALL)["points"] == 4
    assert row(whole, ALL)["spearman"] == pytest.approx(0)  # 5 of 5, 4 are -1 apart


def test_runs_that_diverged_or_stopped_are_counted_and_not_correlated():
    probe, accuracy = np.arange(TASKS), np.linspace(0, 1, TASKS)
    frame = pd.concat(
        [
            run(0.1, 0, probe, accuracy),
            run(0.1, 1, probe, accuracy),
            run(0.1, 2, -probe, accuracy, diverged_at=9),
            run(0.1, 3, -probe, accuracy, rows=8),
        ]
    )
    data = relation(frame, [PROBE])
    assert row(data, "SGD lr 0.1")["spearman"] == 1
    assert (row(data, ALL)["runs"], row(data, BETWEEN)["runs"]) == (2, 2)
    (sheet,) = relation_sheets(data)
    assert sheet.rows[0][:3] == ["SGD lr 0.1", "2 of 4", "11 tasks"]
    assert sheet.rows[0][3] == "1.00 ± 0.00"
    assert sheet.rows[2][2:] == ["1 settings", "n/a", ""]


def test_what_was_not_measured_is_said():
    nothing = np.full(TASKS, np.nan)
    data = relation(study(lambda i, s: nothing, lambda i, s: nothing + 0.5), [PROBE])
    assert data["spearman"].isna().all()
    (sheet,) = relation_sheets(data.assign(expected=data["expected"].fillna(4)))
    assert "--landscape-every 1" in sheet.notes[0]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("relate")
    for problem in ("permuted", "pairwise"):
        runs = [
            make_run(make_setting(problem, tasks=TASKS, lr=lr), seed)
            for lr in RATES
            for seed in range(3)
        ]
        write(folder, problem, *runs)
    return str(folder)


@pytest.mark.parametrize("format", FORMATS)
def test_it_is_printed_in_every_format(results, format, capsys):
    print_relation(results, [PROBE, "start_dormant_fraction"], format=format)
    said = capsys.readouterr().out
    assert said.count("start_dormant_fraction") == 2 or format == "latex"
    assert all(word in said for word in (BETWEEN, ALL, "pairwise", "SGD lr 0.003"))


def test_csv_has_full_precision(results, capsys):
    print_relation(results, [PROBE], format="csv")
    data = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert len(data) == 2 * (len(RATES) + 2)
    assert data["probe"].unique().tolist() == [PROBE]


@pytest.mark.parametrize(
    ("probe", "complaint"),
    [
        ("start_sharpnes", "did you mean 'start_sharpness'"),
        ("layer_weight_norm", "unknown probe"),
        ("test_accuracy", "unknown probe"),
    ],
)
def test_a_probe_that_is_none_is_refused(results, probe, complaint):
    with pytest.raises(UsageError, match=complaint):
        print_relation(results, [probe])


def test_a_negative_number_of_tasks_is_refused(results):
    with pytest.raises(UsageError, match="--skip is -1"):
        print_relation(results, [PROBE], skip=-1)
