"""The report: whole, self-contained, and every number that of the command beside it."""

import html
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.__main__ import about, claims, compare, figure, relate, table
from analysis.figures import FIGURES
from analysis.figures.picture import Picture
from analysis.figures.to_file import FigureRequest, draw_to_file
from analysis.report import build
from analysis.report.report import make_page, make_reports, write_report
from analysis.tables.definitions import definition_sheets
from tests.support.reported import ODD, rho_settings, without
from tests.support.synthetic import (
    hash_of,
    make_run,
    make_setting,
    paper_settings,
    write,
    write_study,
)
from trainables.record import KNOWN_COLUMNS, KNOWN_MEASURES, SCHEMA_VERSION
from trainables.usage import UsageError

COMMANDS = {
    command.__name__: command for command in (table, about, claims, compare, relate)
}


class Page(HTMLParser):
    """What a page holds: its tags, ids, and text by section."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links = set(), [], []
        self.cells = {}
        self.section, self.cell = None, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        self.links += [attrs[n] for n in ("href", "src", "xlink:href") if n in attrs]
        if tag == "section":
            self.section = attrs["id"]
        if tag in ("td", "th"):
            self.cell = ""
        if tag == "br" and self.cell is not None:
            self.cell += " "

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.cells.setdefault(self.section, []).append(self.cell)
            self.cell = None


def test_every_part_is_made(reports):
    (report,) = reports
    left_out = [part.key for part in report.parts if part.problem]
    assert left_out == ["replication"]  # it repeats no published experiment
    assert not any(part.failed for part in report.parts)
    drawn = {part.drawing.figure for part in report.parts if part.drawing}
    assert drawn == set(FIGURES) - {"relate", "replication"}


def test_the_page_needs_nothing_but_itself(report_page):
    text = report_page.read_text("utf-8")
    found = Page(text)
    assert found.tags.isdisjoint({"script", "iframe", "img", "object"})
    for link in found.links:
        assert link.startswith(("#", "data:")), link
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_no_two_things_have_one_id_and_what_is_used_is_there(report_page):
    text = report_page.read_text("utf-8")
    found = Page(text)
    assert len(found.ids) == len(set(found.ids))
    used = re.findall(r'(?:href="|url\()#([^")]+)', text)
    assert used
    assert set(used) <= set(found.ids)


def test_figures_are_text_and_have_words_for_those_who_do_not_see_them(report_page):
    text = report_page.read_text("utf-8")
    figures = re.findall(r"<figure .*?</figure>", text, flags=re.DOTALL)
    assert len(figures) == len(FIGURES) - 2
    for drawing in figures:
        assert drawing.count("<svg ") == 2
        assert re.match(r'<figure role="img" aria-label="\w', drawing)
        assert re.search(">(task|rho|difference)", drawing)
    written = set(re.findall(r"<text[^>]*>([^<]*)</text>", text))
    assert {"SGD lr 0.001", "SAM lr 0.001 rho 0.05", "0.001"} <= written


def keep_parts(monkeypatch, *names):
    """Make reports of these parts only: figures take seconds."""
    monkeypatch.setattr(build, "PARTS", {name: build.PARTS[name] for name in names})


def test_the_same_records_give_the_same_bytes(tmp_path, monkeypatch):
    keep_parts(monkeypatch, "answer", "accuracy", "table", "about")
    write_study(tmp_path, [make_setting(tasks=3)], (0, 1))
    files = [tmp_path / f"{name}.html" for name in "ab"]
    for file in files:
        write_report(str(tmp_path), str(file))
    assert files[0].read_bytes() == files[1].read_bytes()


def words(text):
    """Return what is printed, without the differences of setting it."""
    return re.sub(r"[\s|:\\*#-]+", " ", html.unescape(text))


PARTLY = ("answer", "claims", "lost")
"""The parts that have only some rows of what their command prints."""


def test_every_number_is_the_one_of_the_command_beside_it(reports, report_page, capsys):
    """Each part's command is run as it stands there, and has what the part has."""
    capsys.readouterr()
    all_cells = Page(report_page.read_text("utf-8")).cells
    checked = 0
    for part in reports[0].parts:
        if not part.command or part.problem or part.drawing:
            continue
        name, *given = shlex.split(part.command)[3:]
        options = {
            given[i].removeprefix("--"): given[i + 1] for i in range(1, len(given), 2)
        }
        if "probe" in options:
            options["probe"] = [options["probe"]]
        COMMANDS[name](given[0], format="markdown", **options)
        printed = capsys.readouterr().out
        lines = [re.split(r" ?(?<!\\)\| ?", line) for line in printed.splitlines()]
        said = [cell for line in lines if len(line) > 2 for cell in line[1:-1]]
        said = [cell for cell in said if not re.fullmatch(r":?-+:?", cell)]
        mine = [c.replace("  ", " ") for c in all_cells.get(f"s0-{part.key}", [])]
        said, mine = (
            [re.sub(r" \(?(pp|%|d_z|Holm|to the|95%).*", "", cell) for cell in cells]
            for cells in (said, mine)
        )
        if part.key in PARTLY:
            assert set(mine) <= set(said)
        else:
            assert mine == said
        for line in part.findings:
            assert words(line) in words(printed)
        checked += len(mine)
    assert checked > 300


def test_every_number_of_a_figure_is_the_one_that_its_command_writes(
    reports, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for part in reports[0].parts:
        if not part.drawing:
            continue
        name, results, *given = shlex.split(part.command)[4:]
        assert given == ["-o", f"{name}.svg"]
        figure(name, results, output=f"{name}.csv")
        written = pd.read_csv(f"{name}.csv")
        data = part.drawing.data
        numbers = data.select_dtypes("number").columns
        assert len(written) == len(data)
        for column in numbers:
            np.testing.assert_array_equal(written[column], data[column], column)
        again = [sheet.rows for sheet in FIGURES[name].numbers(written)]
        if name != "tasks":
            assert again == [sheet.rows for sheet in part.drawing.numbers]


def test_markup_in_a_name_is_text(tmp_path, monkeypatch):
    keep_parts(monkeypatch, "about", "table", "accuracy", "compare")
    folder = tmp_path / "odd" / "records"
    folder.mkdir(parents=True)
    kinds = rho_settings("permuted", 6)[:2]  # SGD and SAM
    runs = [make_run(setting, seed, ODD) for setting in kinds for seed in range(2)]
    pq.write_table(pa.concat_tables(runs), folder / "x.parquet")
    write(tmp_path, "y", make_run(make_setting(tasks=6), 0, "plain"))
    assert write_report(str(tmp_path), str(tmp_path / "r.html")) == 0
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    Page(text)
    request = FigureRequest(name="accuracy", results=str(tmp_path), study=ODD)
    draw_to_file(request, str(tmp_path / "f.svg"))
    assert "<script" not in (tmp_path / "f.svg").read_text("utf-8")


@pytest.fixture
def undrawn(monkeypatch):
    """Have all figures' numbers, without the seconds that it takes to draw them."""
    monkeypatch.setattr(Picture, "render", lambda *_, **__: (b"<svg></svg>", 7.0))


def broken_parts(folder, capsys):
    """Return the page, and why parts of it were not made."""
    (report,) = make_reports(str(folder))
    text = make_page([report])
    assert "Traceback" not in capsys.readouterr().err
    assert not any(part.failed for part in report.parts)
    assert ">nan" not in text.lower()
    return text, {part.key: part.problem for part in report.parts if part.problem}


def test_one_setting_only(tmp_path, capsys, undrawn):
    write_study(tmp_path, [make_setting(tasks=5)], (0, 1))
    _, why = broken_parts(tmp_path, capsys)
    assert "nothing to compare" in why["compare"]
    assert "there is none" in why["rho"]
    assert {"table", "accuracy", "capacity", "about"}.isdisjoint(why)


def test_missing_seeds_and_runs_that_diverged(tmp_path, capsys, monkeypatch):
    keep_parts(monkeypatch, "answer", "about", "table", "accuracy", "rho", "lost")
    settings = paper_settings(tasks=5)
    write_study(tmp_path, settings[:4], (0, 1, 2))
    write(tmp_path, "e", make_run(settings[4], 0), make_run(settings[4], 1, rows=3))
    write(tmp_path, "f", *(make_run(settings[5], s, diverged_at=2) for s in (0, 1, 2)))
    text, _ = broken_parts(tmp_path, capsys)
    assert "13 of 18 runs are complete" in text
    assert "2 of 6 settings have diverged, incomplete or missing runs" in text
    assert "incomplete: seed 1; missing: seed 2" in text
    assert "diverged: seeds 0-2" in text


def test_columns_of_nulls_and_records_of_the_first_version(tmp_path, capsys, undrawn):
    old = [n for n in KNOWN_COLUMNS if n not in set(list(KNOWN_MEASURES)[10:])]
    for setting in paper_settings(tasks=5)[:4]:
        runs = pa.concat_tables([make_run(setting, s) for s in (0, 1)])
        runs = without(runs, ("sharpness", "effective_rank"))
        file = write(tmp_path, hash_of(setting), runs)
        if setting["lr"] == 0.01:
            marks = {"schema_version": "1"}
            pq.write_table(runs.select(old).replace_schema_metadata(marks), file)
    text, why = broken_parts(tmp_path, capsys)
    assert "capacity" not in why
    assert f"1 (2 files), {SCHEMA_VERSION} (2 files)" in text


def test_nothing_measured_of_the_network(tmp_path, capsys, undrawn):
    null = [n for n in KNOWN_MEASURES if n not in ("test_accuracy", "online_accuracy")]
    for setting in paper_settings(tasks=5)[:2]:
        write(tmp_path, hash_of(setting), without(make_run(setting, 0), null))
    _, why = broken_parts(tmp_path, capsys)
    assert "sharpness was not measured" in why["sharpness"]
    assert "none of dormant_fraction" in why["capacity"]
    assert "not measured" in why["relate"]


def test_an_empty_folder_is_one_clear_line(tmp_path):
    with pytest.raises(UsageError, match="no records in"):
        write_report(str(tmp_path), str(tmp_path / "r.html"))
    assert not (tmp_path / "r.html").exists()


def asked(folder, settings, seeds, study="paper"):
    """Write what a sweep writes before its first record."""
    entries = [
        {
            "setting_id": hash_of(dict(setting)),
            "seeds": seeds,
            "setting": {k: v for k, v in setting.items() if v is not None},
        }
        for setting in settings
    ]
    (folder / study / "checkpoints").mkdir(parents=True)
    whole = {"schema_version": 2, "study": study, "settings": entries}
    (folder / study / "study.json").write_text(json.dumps(whole))


def test_a_study_that_runs_says_how_much_is_there(tmp_path, capsys, undrawn):
    settings = paper_settings(tasks=5)
    asked(tmp_path, settings, "0-2+7")
    (tmp_path / "paper" / "checkpoints" / "a-seeds-0.pt").write_bytes(b"")
    text, why = broken_parts(tmp_path, capsys)
    assert set(why.values()) >= {"there are no records yet"}
    assert "about" not in why
    assert "0 of 24 runs are complete" in text
    assert "1 stacks (runs that train together) have a checkpoint" in text
    write_study(tmp_path, settings[:2], (0, 1, 2, 7))
    text, _ = broken_parts(tmp_path, capsys)
    assert "8 of 24 runs are complete" in text
    assert "missing: seeds 0-2, 7" in text


@pytest.mark.parametrize("content", ["", "[]", '{"settings": [{}]}', "{"])
def test_a_damaged_study_json_changes_nothing(tmp_path, content, monkeypatch):
    keep_parts(monkeypatch, "answer", "about", "lost")
    write_study(tmp_path, [make_setting(tasks=3)], (0,))
    (tmp_path / "paper" / "study.json").write_text(content)
    (report,) = make_reports(str(tmp_path))
    assert (report.complete, report.expected) == (1, 1)


def test_of_many_settings_the_best_are_drawn_and_the_command_names_them(
    tmp_path, monkeypatch, undrawn
):
    keep_parts(monkeypatch, "accuracy")
    many = [
        make_setting(tasks=3, optimizer=kind, weight_decay=i * 1e-4)
        for kind in ("sgd", "gnp")
        for i in range(9)
    ]
    write_study(tmp_path, many, (0, 1))
    (report,) = make_reports(str(tmp_path))
    (part,) = [part for part in report.parts if part.key == "accuracy"]
    assert part.drawing.data["setting_id"].nunique() == 6
    given = shlex.split(part.command)
    chosen = given[given.index("--setting") + 1 : given.index("-o")]
    assert sorted(chosen) == sorted(set(part.drawing.data["setting_id"]))
    means = {
        hash_of(s): np.mean(
            [make_run(s, i)["test_accuracy"].to_numpy() for i in (0, 1)]
        )
        for s in many
    }
    for kind in ("sgd", "gnp"):
        mine = sorted(
            (hash_of(s) for s in many if s["optimizer"] == kind), key=means.get
        )
        assert set(mine[-3:]) <= set(chosen)
    assert "18 settings" in part.lead


DATA = Path(__file__).parents[3] / "docs" / "data"


def test_more_settings_than_lines_leave_out_no_figure(monkeypatch):
    keep_parts(monkeypatch, "accuracy", "difference")
    (report,) = make_reports(str(DATA / "family"))
    accuracy, difference = (part.drawing.data for part in report.parts)
    assert accuracy["setting_id"].nunique() <= 12
    assert difference["setting_id"].nunique() <= 8
    assert "--setting" in report.parts[1].command


def test_a_study_of_control_is_reported_by_its_own_measure(monkeypatch, capsys):
    keep_parts(monkeypatch, "table", "compare", "accuracy", "forgetting", "lost")
    (report,) = make_reports(str(DATA / "td"))
    assert report.complete == report.expected == 100
    printed, compared, drawn, forgetting, lost = report.parts
    assert "--measure value_error" in printed.command
    assert "--measure value_error" in compared.command
    assert "value error" in drawn.drawing.data["title"].iloc[0]
    assert "only problems of control" in forgetting.problem
    assert "No run is missing" in lost.lead
    # the command needs no --measure, because study.json names the problem
    for options in ((), ("value_error",)):
        table(str(DATA / "td"), *options)
    first, second = np.array_split(capsys.readouterr().out.splitlines(), 2)
    assert first.tolist() == second.tolist()


def test_a_part_that_fails_takes_no_other_with_it(tmp_path, monkeypatch, capsys):
    def fail(source):
        raise ZeroDivisionError("a fault")

    write_study(tmp_path, [make_setting(tasks=3)], (0,))
    few = {"table": ("Broken", fail), "about": build.PARTS["about"]}
    monkeypatch.setattr(build, "PARTS", few)
    assert write_report(str(tmp_path), str(tmp_path / "r.html")) == 1
    said = capsys.readouterr()
    assert "ZeroDivisionError: a fault" in said.err
    assert "left out: Broken" in said.out
    assert "this program failed" in (tmp_path / "r.html").read_text("utf-8")


def test_every_number_has_a_definition_and_a_source():
    for sheet in definition_sheets(KNOWN_MEASURES):
        for number, definition, _, source in sheet.rows:
            assert definition, number
            assert source, number
