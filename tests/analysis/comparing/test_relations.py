import io

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.comparing.relations import (
    ALL,
    BETWEEN,
    indicators,
    lead_indicators,
    relation,
)
from analysis.statistics.correlations import detrended_spearman
from analysis.statistics.paired import holm
from analysis.tables.formats import FORMATS
from analysis.tables.relations import (
    indicator_sheets,
    print_relation,
    relation_sheets,
)
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


def by_fisher(correlations):
    """The mean and the t-interval of artanh r, transformed back."""
    z = np.arctanh(correlations)
    return np.tanh([z.mean(), *stats.t.interval(0.95, 3, z.mean(), stats.sem(z))])


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
        got = [found["spearman" + end] for end in ("", "_lo", "_hi")]
        assert got == pytest.approx(by_fisher(single[i]))
        assert (found["points"], found["runs"]) == (TASKS - 2, 4)
    means = np.tanh(np.arctanh(single).mean(axis=0))
    got = [row(data, ALL)["spearman" + end] for end in ("", "_lo", "_hi")]
    assert got == pytest.approx(by_fisher(means))


def test_seeds_without_a_correlation_are_counted_and_named():
    random = np.random.default_rng(4)

    def probe(i, seed):
        if seed == 1:
            return np.arange(TASKS) + i
        return np.full(TASKS, 2.0 + i) if seed == 3 else random.normal(0, 1, TASKS)

    data = relation(study(probe, lambda i, s: random.uniform(0, 1, TASKS)), [PROBE])
    for label in ("SGD lr 0.1", ALL):
        found = row(data, label)
        got = found["runs"], found["no_spearman"], found["no_partial"]
        assert got == (4, "3", "1")
    (sheet,) = relation_sheets(data)
    spearman, partial = sheet.rows[0][-2:]
    assert spearman.endswith(", 3 seeds)")
    assert partial.endswith(", 2 seeds)")
    constant, monotone = sheet.notes
    assert "seed 3 of all settings" in constant
    assert "seed 1 of all settings" in monotone


def test_a_seed_keeps_the_settings_where_it_has_a_correlation():
    random = np.random.default_rng(5)
    noise = random.normal(0, 1, (len(RATES), 4, TASKS))
    noise[0, 0] = np.arange(TASKS)
    accuracy = random.uniform(0, 1, noise.shape)
    data = relation(
        study(lambda i, seed: noise[i, seed], lambda i, seed: accuracy[i, seed]),
        [PROBE],
    )
    assert row(data, "SGD lr 0.1")["no_partial"] == "0"
    assert row(data, ALL)["no_partial"] == ""
    (sheet,) = relation_sheets(data)
    assert [note for note in sheet.notes if "seed 0 of SGD lr 0.1:" in note]


def test_why_a_probe_that_only_rises_has_no_correlation_is_said():
    random = np.random.default_rng(6)
    data = relation(
        study(lambda i, s: np.arange(TASKS), lambda i, s: random.uniform(0, 1, TASKS)),
        [PROBE],
    )
    assert data["partial"].isna().all()
    (sheet,) = relation_sheets(data)
    (note,) = sheet.notes
    assert "without trend is undefined for every seed of all settings" in note
    assert f"without its trend, {PROBE} or the accuracy does not vary" in note
    assert "because it rises at every task" in note


def test_a_seed_whose_settings_are_all_alike_is_named():
    random = np.random.default_rng(7)
    values = random.normal(0, 1, TASKS)
    data = relation(
        study(
            lambda i, seed: values + (0 if seed == 2 else i + random.normal(0, 1)),
            lambda i, seed: 0.5 + random.uniform(-0.4, 0.4, TASKS),
        ),
        [PROBE],
    )
    assert row(data, BETWEEN)["no_spearman"] == "2"
    (sheet,) = relation_sheets(data)
    assert "seed 2 of between settings" in sheet.notes[0]


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
    assert sheet.rows[0][3:] == ["1.00 (1.00 to 1.00)", "n/a"]
    assert sheet.rows[2][2:] == ["1 settings", "n/a", ""]


def test_what_was_not_measured_is_said():
    nothing = np.full(TASKS, np.nan)
    data = relation(study(lambda i, s: nothing, lambda i, s: nothing + 0.5), [PROBE])
    assert data["spearman"].isna().all()
    (sheet,) = relation_sheets(data.assign(expected=data["expected"].fillna(4)))
    assert "--landscape-every 1" in sheet.notes[0]


# ---- indicators


def lagging_study(seeds=range(8)):
    """What raises accuracy on a task, what precedes it by a task, drift, and noise."""
    random = np.random.default_rng(8)
    frames = []
    for lr in RATES[:2]:
        for seed in seeds:
            shock, other = random.normal(0, 1, (2, TASKS))
            ramp = np.arange(TASKS)
            accuracy = 0.5 - 0.005 * ramp + 0.02 * (shock + np.roll(other, 1))
            made = run(lr, seed, -shock, accuracy)
            made["weight_norm"] = other
            made["start_gradient_norm"] = -ramp + random.normal(0, 2, TASKS)
            made["start_lipschitz"] = random.normal(0, 1, TASKS)
            frames.append(made)
    return pd.concat(frames, ignore_index=True)


LEAD = [PROBE, "weight_norm", "start_gradient_norm", "start_lipschitz"]


def test_an_indicator_is_known_before_the_task():
    """A start_ measure is of the task itself, any other is of the task before."""
    frame = lagging_study()
    data = indicators(frame, LEAD).set_index("probe")
    assert data["is_before"].tolist() == [True, False, True, True]
    assert data.loc[PROBE, "partial_hi"] < 0
    assert data.loc["weight_norm", "partial_lo"] > 0
    # a value that is known a task too late does not correlate
    frame["weight_norm"] = frame.groupby(["lr", "seed"])["weight_norm"].shift(1)
    assert indicators(frame, ["weight_norm"])["partial"][0] < 0.2


def test_the_tests_of_all_indicators_are_corrected_together():
    frame = lagging_study()
    data = indicators(frame, LEAD)
    values = frame.sort_values(["lr", "seed", "task"])
    shape = (2, 8, TASKS)
    y = values["test_accuracy"].to_numpy().reshape(shape)[:, :, 1:]
    for i, name in enumerate(LEAD):
        x = values[name].to_numpy().reshape(shape)
        x = x[:, :, 1:] if name.startswith("start_") else x[:, :, :-1]
        r = np.stack([detrended_spearman(a, b) for a, b in zip(x, y, strict=True)])
        z = np.arctanh(r).mean(axis=0)
        assert data["p"][i] == pytest.approx(stats.ttest_1samp(z, 0).pvalue)
        ends = stats.t.interval(1 - 0.05 / 4, 7, z.mean(), stats.sem(z))
        got = data[["partial", "partial_lo", "partial_hi"]].iloc[i]
        assert got.tolist() == pytest.approx(np.tanh([z.mean(), *ends]))
    assert data["p_holm"].tolist() == pytest.approx(holm(data["p"].to_numpy()))
    plain = row(relation(frame, [PROBE]), ALL)
    assert data["spearman"][0] == pytest.approx(plain["spearman"])
    assert data["partial"][0] == pytest.approx(plain["partial"])


def test_three_sentences_say_what_the_table_shows_and_what_not():
    (sheet,) = indicator_sheets(indicators(lagging_study(), LEAD))
    assert [cells[0] for cells in sheet.rows] == [
        PROBE,
        "weight_norm (task before)",
        *LEAD[2:],
    ]
    last = [cells[-1] for cells in sheet.rows]
    assert last == ["a high value", "a low value", "not shown", "not shown"]
    shown, drift, visible = sheet.notes
    assert f"announced by: a high {PROBE}, a low weight_norm (task before)." in shown
    assert "trend along the stream is subtracted: start_gradient_norm" in drift
    assert "with a probability of 80%" in visible


def test_seeds_without_an_indicator_are_counted_and_named():
    frame = lagging_study()
    frame.loc[frame["seed"] == 2, PROBE] = 1.0
    frame["weight_norm"] = np.nan
    (sheet,) = indicator_sheets(indicators(frame, LEAD))
    assert [cells[1] for cells in sheet.rows] == ["7 of 8", "0 of 8", "8", "8"]
    assert sheet.rows[1][3:6] == ["n/a"] * 3
    assert any(f"for seed 2: {PROBE}." in note for note in sheet.notes)
    assert any("for any seed" in note and "weight_norm" in note for note in sheet.notes)


def test_outcomes_are_no_indicators_and_the_start_of_a_task_replaces_the_end():
    measures = ["test_accuracy", "train_loss", "sharpness", PROBE, "hessian_trace"]
    assert lead_indicators(measures) == [PROBE, "hessian_trace"]


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
    # Of each stream: the title and a note (the probe only rises), a row and a note or
    # two in the comparison. LaTeX has an escaped name.
    assert said.count("start_dormant_fraction") >= 8 or format == "latex"
    assert all(word in said for word in (BETWEEN, ALL, "pairwise", "SGD lr 0.003"))


def test_csv_has_full_precision(results, capsys):
    print_relation(results, [PROBE], format="csv")
    data = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert len(data) == 2 * (len(RATES) + 2)
    assert data["probe"].unique().tolist() == [PROBE]


def test_by_default_all_that_was_measured_is_compared(results, capsys):
    print_relation(results, format="csv")
    data = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert {PROBE, "start_effective_rank", "weight_norm"} <= set(data["probe"])
    print_relation(results)
    said = capsys.readouterr().out
    assert "indicators before a task" in said
    assert f"{PROBE} and test_accuracy, permuted" in said


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
