"""Make the reports of studies, and write them as one HTML page.

The page has no scripts and loads nothing from a network.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis.figures import FIGURES
from analysis.figures.picture import NARROW
from analysis.records.request import read_requests
from analysis.records.write import write_file
from analysis.report.build import PROBES, Drawing, Part, Source, build_parts
from analysis.tables import about
from trainables.usage import UsageError, printable

SUFFIXES = ("", ".html", ".htm")
"""The suffixes that the name of the page can have; /dev/stdout has none."""

MOST_ROWS = 100
"""The maximum number of rows of a table on the page."""


@attrs.frozen
class Report:
    """The report of a study."""

    study: str  # the name of the study
    complete: int  # the number of complete runs
    expected: int  # the number of runs that the study should have
    parts: list[Part]  # the sections, in the order of the page


def write_report(results: str, output: str) -> int:
    """Write one page that reports all studies under `results`, and print a summary.

    The same records give the same file, byte for byte.

    Returns:
        The exit status: 1 if an error in this program prevented a part, else 0.

    Raises:
        UsageError: There are no readable records and no study.json, the suffix of the
            file is not in `SUFFIXES`, or the file cannot be written.
    """
    if Path(output).suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"cannot write {output}: the report is a web page, so the file name must "
            "end in .html (a browser can print it as PDF)"
        )
    reports = make_reports(results)
    write_file(output, make_page(reports).encode("utf-8", errors="replace"))
    for report in reports:
        left_out = [part for part in report.parts if part.problem]
        complete_parts = len(report.parts) - len(left_out)
        print(
            f"{report.study}: {report.complete} of {report.expected} runs are "
            f"complete; the report has {complete_parts} of {len(report.parts)} parts"
        )
        for part in left_out:
            print(f"  left out: {part.title}: {part.problem}")
    print(f"wrote {output}")
    return int(any(part.failed for report in reports for part in report.parts))


def make_reports(results: str) -> list[Report]:
    """Return a report for each study under `results`, sorted by name.

    Raises:
        UsageError: There are no readable records and no study.json.
    """
    requests = read_requests(results)
    needed = {*about.COLUMNS, *PROBES}
    needed.update(*(picture.columns for picture in FIGURES.values()))
    records = about.load_or_empty(results, sorted(needed), None, requests)
    frame = records.to_frame()
    # Grouping by categories is faster than grouping by text.
    text = frame.select_dtypes(["object", "str"]).columns.drop("backward_accuracy")
    frame = frame.astype(dict.fromkeys(text, "category"))
    facts = about.study_facts(frame, records.files, requests)
    reports = []
    for study in facts:
        source = Source(
            results=results,
            several=len(facts) > 1,
            all_records=frame,
            columns=records.columns,
            facts=study,
        )
        complete, expected = study.counts[["complete", "expected"]].sum()
        parts = build_parts(source)
        reports.append(Report(study.study, int(complete), int(expected), parts))
    return reports


def make_page(reports: Sequence[Report]) -> str:
    """Return the HTML page of the reports. Text from the results is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html")
    return template.render(reports=reports, embed=_embed, most=MOST_ROWS)


def _embed(drawing: Drawing, name: str) -> list[dict[str, Any]]:
    """Return a figure as SVG in two widths: for a wide screen and for a phone."""
    pictures = []
    for kind, svg in (("wide", drawing.wide), ("narrow", drawing.narrow)):
        # `Markup` is safe here, because Matplotlib escapes the text of a figure.
        text = svg.text[svg.text.index("<svg") :]
        markup = Markup(unique_ids(text, f"{name}-{kind}"))
        fits = svg.inches < NARROW
        pictures.append({"svg": markup, "fits": fits, "inches": round(svg.inches, 2)})
    return pictures


def unique_ids(svg: str, prefix: str) -> str:
    """Return an SVG with a prefix before each id, so that one page can have several.

    >>> unique_ids('<path id="a"/><use xlink:href="#a" clip-path="url(#b)"/>', "x")
    '<path id="x-a"/><use xlink:href="#x-a" clip-path="url(#x-b)"/>'
    """
    # Equal images have equal ids. Remove these ids, because nothing refers to them.
    svg = re.sub(r'(<image\b[^>]*?) id="[^"]*"', r"\1", svg)
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
