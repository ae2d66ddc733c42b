"""The table of accuracy, and the goldens.

To write the golden files again: python -m tests.analysis.tables.test_tables
"""

import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.tables import TABLES, print_tables
from analysis.tables.accuracy import SHOWN, accuracy_sheets, accuracy_table
from tests.support.synthetic import (
    make_run,
    make_setting,
    paper_settings,
    write,
    write_study,
)
from trainables.usage import UsageError

GOLDEN = Path(__file__).parents[2] / "golden"
SUFFIX = {"rich": "txt", "markdown": "md", "latex": "tex", "csv": "csv"}


def line(first, step, tasks):
    return first + step * np.arange(tasks)


def write_golden_study(results):
    """Write a study of straight lines in which all that can go wrong did."""
    sgd, slow, sam, _, gnp, _ = paper_settings()
    for name, setting, steps in (("0", sgd, (-5, -4, -6)), ("1", sam, (-3, -2))):
        runs = [
            make_run(setting, seed, "paper_1", line(0.9, step * 1e-4, 100))
            for seed, step in enumerate(steps)
        ]
        write(results, name, *runs)
    write(
        results, "2", *(make_run(slow, s, "paper_1", diverged_at=9) for s in range(3))
    )
    up = make_run(gnp, 0, "paper_1", line(0.8, 1e-4, 100))
    stopped = make_run(gnp, 1, "paper_1", line(0.8, 1e-4, 100), rows=60)
    lost = make_run(gnp, 2, "paper_1", line(0.8, 1e-4, 100), diverged_at=50)
    write(results, "3", up, stopped, lost)
    wide, narrow = ({"tasks": 5, "hidden": hidden} for hidden in ("100-100-100", "50"))
    for name, setting in (
        ("4", make_setting("pairwise", **wide)),
        ("5", make_setting("pairwise", **narrow, optimizer="sam", rho=0.05)),
    ):
        flat = [make_run(setting, s, "paper_1", line(0.98, 0, 5)) for s in (0, 1)]
        write(results, name, *flat)


def print_golden(results, format):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print_tables(str(results), format)
    return out.getvalue()


@pytest.fixture(scope="module")
def golden_study(tmp_path_factory):
    results = tmp_path_factory.mktemp("golden")
    write_golden_study(results)
    return results


@pytest.mark.parametrize("format", SUFFIX)
def test_the_tables_are_the_golden_ones(golden_study, format):
    expected = (GOLDEN / f"tables.{SUFFIX[format]}").read_text("utf-8")
    assert print_golden(golden_study, format) == expected


def table(*runs):
    return accuracy_table(pd.concat([r.to_pandas() for r in runs], ignore_index=True))


def sheet(*runs):
    (sheet,) = accuracy_sheets(table(*runs))
    return sheet


def cells(sheet, row=0):
    heads = [column.name for column in sheet.columns]
    return dict(zip(heads, sheet.rows[row], strict=True))


SGD = make_setting(tasks=3)
SAM = make_setting(tasks=3, optimizer="sam", rho=0.05)


def test_a_row_has_the_mean_and_its_t_interval():
    runs = [
        make_run(SGD, s, accuracy=line(0.5, d, 3)) for s, d in enumerate((1e-2, 3e-2))
    ]
    (row,) = table(*runs).to_dict("records")
    # Two values 0.01 and 0.03: s / sqrt(2) = 0.01, and t(0.975; 1) = 12.706
    assert row["accuracy_change"] == pytest.approx(0.02)
    assert row["accuracy_change_hi"] == pytest.approx(0.02 + 0.12706, abs=1e-5)
    assert row["accuracy_slope_lo"] == pytest.approx(0.02 - 0.12706, abs=1e-5)
    assert (row["first_accuracy"], row["first_accuracy_lo"]) == (0.5, 0.5)
    # Over the stream, of two steps, in points
    assert cells(sheet(*runs))["change"] == "4.00 ± 25.41"
    assert cells(sheet(*runs))["late"] == "54.00 ± 25.41"


def test_one_run_has_no_interval():
    found = cells(sheet(make_run(SGD, 0, accuracy=[0.5, 0.7, 0.6])))
    assert found["change"] == "10.00 ± n/a"
    assert (found["runs"], found["first"], found["last"]) == ("1", "50.00", "60.00")


def test_one_task_has_no_change():
    single = make_setting(tasks=1)
    found = cells(sheet(*(make_run(single, s, accuracy=[0.5]) for s in (0, 1))))
    assert (found["change"], found["slope"], found["last"]) == ("n/a", "n/a", "50.00")


def test_where_all_runs_diverged_there_is_no_mean():
    found = cells(sheet(*(make_run(SGD, s, diverged_at=1) for s in (0, 1))))
    assert found["runs"] == "0 of 2"
    assert found["diverged"] == "2"
    names = ("change", "slope", "first", "last", "late")
    assert {found[name] for name in names} == {"n/a"}


def test_a_diverged_run_does_not_move_the_mean():
    good = [make_run(SGD, s, accuracy=[0.5, 0.6, 0.7]) for s in (0, 1)]
    bad = make_run(SGD, 2, accuracy=[0.9, 0.1, 0.1], diverged_at=1)
    with_it, without = cells(sheet(*good, bad)), cells(sheet(*good))
    assert with_it.pop("diverged") == "1"
    assert with_it.pop("runs") == "2 of 3"
    assert with_it.items() <= without.items()


def test_seeds_that_are_not_averaged_over_are_named():
    notes = sheet(
        *(make_run(SGD, seed) for seed in (0, 1, 2, 3, 7)),
        make_run(SAM, 0),
        make_run(SAM, 1, rows=2),
        make_run(SAM, 2, diverged_at=1),
    ).notes
    assert notes == [
        "SAM lr 0.01 has no records of seeds 3, 7.",
        "SAM lr 0.01 has not finished the stream with seed 1.",
        "SAM lr 0.01 diverged with seed 2, so the mean of the other runs is too good.",
    ]


def test_seeds_that_most_settings_lack_are_named_and_left_out():
    """A mean over other seeds than the rest of the table is not comparable."""
    kinds = [{**SAM, "rho": rho} for rho in (0.1, 0.2, 0.3)]
    runs = [make_run(k, s, accuracy=[0.5] * 3) for k in kinds for s in (0, 1)]
    more = make_run(kinds[0], 2, accuracy=[0.9] * 3)
    shown = sheet(*runs, more)
    assert shown.notes == [
        "SAM lr 0.01 rho 0.1 also has seed 2, which most other settings lack. This "
        "table leaves these seeds out."
    ]
    assert [cells(shown, row)["runs"] for row in range(3)] == ["2"] * 3
    assert [cells(shown, row)["late"] for row in range(3)] == ["50.00 ± 0.00"] * 3


def test_a_stream_of_twenty_tasks_never_has_a_trend_that_no_accuracy_could_have():
    """Each run fell by 40 points: that is what the table shows, whatever the length."""
    for tasks in (2, 20, 400):
        setting = make_setting(tasks=tasks)
        fall = np.linspace(0.9, 0.5, tasks)
        found = cells(sheet(*(make_run(setting, s, accuracy=fall) for s in (0, 1))))
        assert (found["change"], found["slope"]) == ("-40.00 ± 0.00",) * 2


def test_trends_are_in_points_over_the_stream():
    shown = sheet(make_run(SGD, 0))
    units = {column.name: column.unit for column in shown.columns}
    assert units["change"] == units["slope"] == "pp over stream"
    assert units["first"] == units["last"] == units["late"] == "%"


@pytest.mark.parametrize(
    ("measure", "unit", "trend"),
    [
        ("online_accuracy", "%", "pp over stream"),
        ("train_loss", "nats", "nats over stream"),
        ("mean_return", "return", "return over stream"),
        ("last_return", "return", "return over stream"),
        ("return_gap", "return", "return over stream"),
        ("value_error", "ratio", "ratio over stream"),
    ],
)
def test_a_table_can_be_of_another_measure(measure, unit, trend):
    frame = pd.concat([make_run(SGD, s).to_pandas() for s in (0, 1)])
    if frame[measure].isna().all():  # a measure of control
        frame[measure] = 2 * frame["test_accuracy"]
    data = accuracy_table(frame, measure)
    assert set(data["measure"]) == {measure}
    last = frame.loc[frame["task"] == 2, measure]
    assert data["last_accuracy"].tolist() == [pytest.approx(last.mean())]
    (shown,) = accuracy_sheets(data)
    assert measure.replace("_", " ").removeprefix("mean ") in shown.title
    units = {column.name: column.unit for column in shown.columns}
    assert (units["last"], units["change"]) == (unit, trend)


def test_whole_settings_need_no_notes():
    assert sheet(*(make_run(SGD, seed) for seed in (0, 1))).notes == []


def test_long_notes_are_cut_and_say_so():
    kinds = [make_setting(tasks=3, weight_decay=i * 1e-3) for i in range(28)]
    runs = [make_run(kind, seed) for kind in kinds for seed in (0, 1)]
    more = [make_run(kind, 2) for kind in kinds[14:]]
    notes = sheet(*runs, *more).notes
    assert len(notes) == 13
    assert notes[-1].startswith("2 more such notes are left out")


def test_a_column_appears_where_settings_differ_in_it():
    wide = {**SGD, "hidden": "500"}
    one, both = sheet(make_run(SGD, 0)), sheet(make_run(SGD, 0), make_run(wide, 0))
    assert "hidden 100-100-100" in one.caption
    assert "hidden" not in cells(one)
    assert "hidden" not in both.caption
    assert {cells(both, row)["hidden"] for row in (0, 1)} == {"100-100-100", "500"}


def test_each_study_and_problem_has_its_table():
    pair = make_setting("pairwise", tasks=3)
    sheets = accuracy_sheets(
        table(make_run(pair, 0, "b"), make_run(SGD, 0, "b"), make_run(SGD, 0, "a"))
    )
    assert [sheet.title for sheet in sheets] == [
        "permuted, study a",
        "permuted, study b",
        "pairwise, study b",
    ]


def test_the_note_says_what_the_papers_change_does_not_see():
    assert "It depends on two tasks only" in " ".join(TABLES["accuracy"].explanation)


@pytest.mark.parametrize("change", [-1e-9, 1e-9, 0.0])
def test_a_zero_has_no_minus(change):
    runs = [make_run(SGD, s, accuracy=line(0.5, change, 3)) for s in (0, 1)]
    assert cells(sheet(*runs))["slope"] == "0.00 ± 0.00"


def test_csv_is_numbers_that_come_back_exactly(tmp_path, capsys):
    write_study(tmp_path, [SGD, SAM], (0, 1, 2))
    write(tmp_path, "more", make_run(SGD, 3))
    print_tables(str(tmp_path), "csv")
    out, err = capsys.readouterr()
    back = pd.read_csv(io.StringIO(out), keep_default_na=True)
    frame = pd.concat(
        [make_run(s, seed).to_pandas() for s in (SGD, SAM) for seed in (0, 1, 2)]
        + [make_run(SGD, 3).to_pandas()],
        ignore_index=True,
    )
    numbers = [name + end for name in SHOWN for end in ("", "_lo", "_hi")]
    assert back[numbers].equals(accuracy_table(frame)[numbers])
    assert back["missing_seeds"].tolist()[1] == 3
    assert err == (
        "note: permuted, study paper: SAM lr 0.01 has no records of seed 3.\n"
    )


def test_an_unknown_format_is_refused(tmp_path):
    write(tmp_path, "x", make_run(SGD, 0))
    with pytest.raises(UsageError, match="did you mean 'markdown'"):
        print_tables(str(tmp_path), "markdwn")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write_golden_study(folder)
        for format, suffix in SUFFIX.items():
            text = print_golden(folder, format)
            (GOLDEN / f"tables.{suffix}").write_text(text, "utf-8")
