"""The command, from outside: exit codes, single lines, what it imports."""

import os
import subprocess
import sys
import typing

import pyarrow.parquet as pq
import pytest

from analysis.__main__ import table
from analysis.tables.formats import FORMATS
from tests.support.command import call
from tests.support.reported import with_real_tasks
from tests.support.synthetic import make_run, make_setting, write, write_study

SHORT = make_setting(tasks=4)
HEAVY = ("torch", "ray", "pandas", "pyarrow", "duckdb", "scipy", "matplotlib")


def start(*args, code=("-m", "analysis")):
    place = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-W", "error", *code, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": place, "PYTHONIOENCODING": "utf-8"},
    )


def refused(*args):
    """Return what the command prints of a wrong call."""
    done = call(*args)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("here") / "results"
    write_study(folder, [SHORT], (0, 1))
    return folder


def test_a_table_is_printed_from_the_usual_place(results):
    done = call("table", cwd=results.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert "permuted, study paper" in done.stdout


def test_a_query_of_runs_and_records_is_printed(results):
    query = (
        "SELECT runs.seed, count(*) AS tasks, avg(test_accuracy) - any_value("
        "mean_accuracy) AS difference FROM runs JOIN records USING (run_id) "
        "GROUP BY ALL ORDER BY ALL"
    )
    done = call("sql", results, query, "--format", "csv")
    assert (done.returncode, done.stderr) == (0, "")
    head, *rows = [line.split(",") for line in done.stdout.splitlines()]
    assert head == ["seed", "tasks", "difference"]
    assert [row[:2] for row in rows] == [["0", "4"], ["1", "4"]]
    assert all(abs(float(row[2])) < 1e-12 for row in rows)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["table", "--where", "lrr = 1"], "unknown column 'lrr': did you mean 'lr'?"),
        (["table", "--where", "lr ="], "syntax error"),
        (["sql", "SELECT lrr FROM runs"], "unknown column 'lrr': did you mean 'lr'?"),
        (["sql", "SELECT * FROM '/etc/hostname'"], "/etc/hostname"),
    ],
)
def test_a_wrong_query_is_one_line_and_exit_code_2(results, args, said):
    error = refused(args[0], results, *args[1:])
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error


def test_figures_are_listed():
    done = call("figure", "--list")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("accuracy  test accuracy by task")


def damage(folder):
    write(folder, "x", make_run(SHORT, 0)).write_bytes(b"PAR1 not Parquet PAR1")


def age(folder):
    run = make_run(SHORT, 0).replace_schema_metadata({"schema_version": "99"})
    pq.write_table(run, write(folder, "x", make_run(SHORT, 0)))


def contradict(folder):
    write(folder, "x", make_run(SHORT, 0))
    write(folder, "y", make_run(SHORT, 0, accuracy=[0.1] * 4))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, "no records in"),
        (damage, "x.parquet is damaged or not a Parquet file"),
        (age, "x.parquet has records of version 99"),
        (contradict, "has two different results"),
    ],
)
def test_bad_records_are_one_line_and_exit_code_2(tmp_path, make, said):
    make(tmp_path)
    error = refused("table", tmp_path)
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error


@pytest.mark.parametrize(
    ("command", "uri"),
    [
        (["table"], "s3://KEY:hidden@bucket/x"),
        (["report", "-o", "x.html"], "s3://KEY:hid/den@bucket/x?region=eu-west-1"),
        (["sql"], "s3://hidden@bucket"),
        (["figure", "accuracy"], "gs://a:hidden@b"),
    ],
)
def test_keys_in_a_uri_are_refused_and_not_repeated(command, uri):
    error = refused(*command, uri)
    assert error.startswith("error: a URI contains access keys")
    assert error.count("\n") == 1
    assert "hid" not in error


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "table"),
        (["tabel"], "tabel"),
        (["table", "nowhere"], "nowhere does not exist"),
        (["table", "--format", "html"], "html"),
        (["table", "--fromat", "csv"], "--format"),
        (["figure"], "needs the name of a figure"),
        (["figure", "accuracy"], "--output"),
        (["figure", "acuracy", "x", "-o", "f.png"], "did you mean 'accuracy'"),
        (["figure", "accuracy", "x", "-o", "f.gif"], ".png, .svg, .pdf, .csv"),
        (["figure", "rho", "x", "-o", "f.png", "--size", "A4"], "one-column"),
        (["report", "nowhere"], "--output report.html"),
        (["report", "nowhere", "-o", "r.html"], "nowhere does not exist"),
        (["report", "nowhere", "-o", "r.pdf"], "the file name must end in .html"),
        (["table", "nowhere", "--tasks", "1"], "give START:STOP"),
        (["import", "nowhere.csv"], "cannot read nowhere.csv"),
        (
            ["export", "nowhere", "-o", "x.xlsx"],
            "the file name must end in .csv or .parquet",
        ),
        (["diff", "nowhere"], "B"),
        (["compare", "x", "--metric", "accuracy"], "unknown metric 'accuracy'"),
        (["compare", "x", "--margin", "0"], "--margin is 0: give a number above 0"),
        (["dose", "x", "--metric", "accuracy_slope"], "--metric is accuracy_slope"),
        (["compare", "x", "--detect", "-1"], "--detect is -1: give a number above 0"),
        (["compare", "x", "--measure", "loss"], "train_loss"),
        (["compare", "x", "--baselin", "sgd"], "--baseline"),
    ],
)
def test_a_wrong_call_is_explained_with_exit_code_2(args, said):
    assert said in refused(*args)


def test_a_wrong_call_of_the_program_is_explained_too():
    done = start("compare", "x", "--metric", "accuracy")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: unknown metric 'accuracy'")


def imported(code):
    """Return which of the heavy packages are imported after some code."""
    report = f"import sys\n{code}\nprint(*[n for n in {HEAVY} if n in sys.modules])"
    done = start(code=("-c", report))
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("\n")[-2].split())


RUN = """
import contextlib, io, runpy
sys.argv = ["analysis", *{args}]
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:
    runpy.run_module("analysis", run_name="__main__")
assert {said!r} in out.getvalue(), out.getvalue()
"""


def test_help_imports_nothing_heavy():
    helps = [["--help"], *([name, "--help"] for name in ("table", "figure", "compare"))]
    code = "".join(RUN.format(args=args, said="usage") for args in helps)
    assert imported(code) == set()


def test_no_table_comparison_figure_or_report_imports_torch_or_ray(tmp_path):
    sam = {**SHORT, "optimizer": "sam", "rho": 0.05}
    for name, setting in (("x", SHORT), ("y", sam)):
        runs = (with_real_tasks(make_run(setting, seed)) for seed in (0, 1))
        write(tmp_path, name, *runs)
    code = RUN.format(args=["table", str(tmp_path)], said="study paper")
    code += RUN.format(args=["compare", str(tmp_path)], said="1 setting. Against")
    code += "assert 'matplotlib' not in sys.modules"
    file = tmp_path / "f.svg"
    figure = ["figure", "accuracy", str(tmp_path), "-o", str(file)]
    code += RUN.format(args=figure, said=f"wrote {file}")
    code += "from analysis.report import build\n"
    code += "build.PARTS = {n: build.PARTS[n] for n in ('table', 'tasks', 'about')}\n"
    page = tmp_path / "r.html"
    report = ["report", str(tmp_path), "-o", str(page)]
    code += RUN.format(args=report, said="the report has 3 of 3 parts")
    assert imported(code) & {"torch", "ray"} == set()
    assert min(file.stat().st_size, page.stat().st_size) > 1000


def test_the_formats_offered_are_those_there_are():
    offered = typing.get_args(typing.get_type_hints(table)["format"])
    assert offered == (*FORMATS, "csv")
