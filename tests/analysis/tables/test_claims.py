"""The claims ledger as it is printed, and its commands, which print its numbers."""

import contextlib
import io
import re
import shlex

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tyro

from analysis import __main__ as commands
from analysis.comparing.claims import CLAIMS, COLUMNS, claims
from analysis.records.load import load
from analysis.tables.claims import claim_sheets, print_claims
from analysis.tables.formats import FORMATS
from tests.support.synthetic import make_run, paper_settings, write
from trainables.usage import UsageError

TASKS = {"permuted": 20, "pairwise": 15}


def landscape(run, rng):
    """Return a run whose sharpness grows and varies, measured on every second task."""
    tasks = run.num_rows
    rise = 1 + 0.2 * rng.normal()
    columns = {
        "sharpness": np.exp(3 + rise * np.linspace(0, 1, tasks)),
        "start_sharpness": 20 + rng.normal(size=tasks),
    }
    unmeasured = np.arange(tasks) % 2 == 1
    for name, values in columns.items():
        i = run.column_names.index(name)
        column = pa.array(values, mask=unmeasured)
        run = run.set_column(i, run.schema.field(name), column)
    return run


def write_paper(results, study="paper", rhos=(0.05,)):
    rng = np.random.default_rng(3)
    for problem, tasks in TASKS.items():
        for rho in rhos:
            for setting in paper_settings(problem, tasks=tasks):
                setting["alpha"] = setting["alpha"] and 0.8
                if setting["rho"] is not None:
                    setting["rho"] = rho
                elif rho != rhos[0]:
                    continue
                name = f"{problem}-{setting['optimizer']}-{setting['lr']}-{rho}"
                runs = [make_run(setting, seed, study) for seed in range(5)]
                write(results, name, *(landscape(run, rng) for run in runs))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two studies: one as the paper's, and one with two values of rho."""
    folder = tmp_path_factory.mktemp("results")
    write_paper(folder)
    write_paper(folder, "it's rho", rhos=(0.05, 0.5))
    return folder


@pytest.fixture(scope="module")
def paper(results):
    """The verdicts on the first study, as if there were no other."""
    place = str(results / "paper")
    return claims(load(place, COLUMNS), place)


@pytest.fixture(scope="module")
def both(results):
    """The verdicts on both studies."""
    return claims(load(str(results), COLUMNS), str(results))


def printed(function, *args):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        function(*args)
    return out.getvalue(), err.getvalue()


def run(command):
    """Run a command line in this process and return its csv as a frame."""
    python, _, module, name, *options = shlex.split(command)
    assert (python, module) == ("python", "analysis")
    args = [*options, "--format", "csv"]
    out, _ = printed(lambda: tyro.cli(getattr(commands, name), args=args))
    return pd.read_csv(io.StringIO(out))


def assert_commands_print(data):
    """Check that the command of each claim prints the number of the claim."""
    for command, rows in data.groupby("command"):
        numbers = run(command).select_dtypes("number").to_numpy().ravel()
        for _, row in rows.iterrows():
            scale = 100 if row["unit"].startswith("pp") else 1
            steps = TASKS[row["problem"]] - 1 if "over" in row["unit"] else 1
            for value in row[["value", "lo", "hi"]]:
                shown = np.outer([scale, scale * steps], numbers)
                # the query of C7 has four decimals of the quantile of t
                assert np.isclose(shown, value, rtol=1e-4, atol=0).any(), command


def test_the_command_of_each_claim_prints_its_number(both):
    """With several studies, and with settings that the claims leave out."""
    data = both[both["study"] == "it's rho"]
    assert len(data) == 14
    assert (data["verdict"] != "not measured").all()
    assert_commands_print(data)


def test_a_command_names_no_study_if_there_is_one(paper):
    """Of each kind of command, one is run: the study's name is added in four places."""
    assert not paper["command"].str.contains("--study|study = ").any()
    names = paper["command"].str.split().str[3]
    assert set(names) == {"compare", "table", "sql", "relate"}
    assert_commands_print(paper[~names.duplicated()])


@pytest.fixture
def known(paper, monkeypatch):
    """Let claims be printed that are known already: to judge them takes a second."""
    monkeypatch.setattr("analysis.tables.claims.claims", lambda *_: paper)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("format", [*FORMATS, "csv"])
def test_no_format_has_a_nan(results, format):
    out, err = printed(print_claims, str(results / "paper"), format)
    assert not re.search(r"\bnan\b", out + err, re.IGNORECASE)
    if format == "csv":
        frame = pd.read_csv(io.StringIO(out))
        assert list(frame["claim"].unique()) == [
            claim.id for claim in CLAIMS.values() if claim.judge
        ]


def test_every_claim_is_in_the_sheets_once(paper):
    verdicts, rules, numbers, unjudged = claim_sheets(paper)
    judged = [claim.id for claim in CLAIMS.values() if claim.judge]
    assert [row[0] for row in rules.rows] == judged
    assert [row[0] for row in unjudged.rows] == ["C8", "C9", "C10", "C13"]
    assert len(verdicts.rows) == len(paper) == 14
    assert {row[0] for row in numbers.rows} == set(judged)
    names = [column.name for column in verdicts.columns]
    assert "study" not in names
    setup = verdicts.rows[0][names.index("setup")]
    assert setup == "tasks 20"


def test_several_studies_are_told_apart(both):
    verdicts, _, numbers, _ = claim_sheets(both)
    for sheet in (verdicts, numbers):
        column = [column.name for column in sheet.columns].index("study")
        assert {row[column] for row in sheet.rows} == {"paper", "it's rho"}


def test_what_is_not_measured_says_how_to_measure_it(tmp_path):
    for setting in paper_settings(tasks=10)[:2]:
        write(tmp_path, str(setting["lr"]), make_run(setting, 0), make_run(setting, 1))
    out, _ = printed(print_claims, str(tmp_path))
    assert "To measure: python -m study.sweep paper\n" in out
    line = next(line for line in out.splitlines() if line.startswith("Not measured: "))
    for name in ("C1 (permuted)", "C1 (pairwise)", "C5b (pairwise)", "C6 (permuted)"):
        assert name in line


@pytest.mark.usefixtures("known")
def test_an_unknown_format_is_one_line(results):
    with pytest.raises(UsageError, match="unknown format 'word'"):
        print_claims(str(results / "paper"), "word")
