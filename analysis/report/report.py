"""The report: all that a careful reader wants of a study, as one page or a folder.

    records -> parts (analysis.parts) -> a page (analysis.page), or Markdown and PNG

The same records give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from analysis.figures.registry import FIGURES
from analysis.records.request import read_asked
from analysis.records.runs import NEEDED
from analysis.report.markdown import write_folder
from analysis.report.page import write_page
from analysis.report.parts import RELATED, Part, Source, make_parts
from analysis.tables import about
from trainables.record import COLUMNS
from trainables.usage import choose


@dataclass(frozen=True)
class Report:
    """A study's report."""

    study: str
    results: str
    whole: int
    expected: int
    parts: list[Part]


def write_report(results: str, output: str, format: str = "html") -> int:
    """Write the report of all studies under `results`; return 1 if a part broke.

    Args:
        results: What `analysis.records.load.load` takes.
        output: The file, or of markdown the folder.
        format: One of `FORMATS`.

    Raises:
        UsageError: There are no records nor anything asked for, they cannot be read,
            or `output` cannot be written.
    """
    write = FORMATS[choose("format", format, FORMATS)]
    reports = make_reports(results)
    write(reports, output)
    for report in reports:
        left = [part for part in report.parts if part.why]
        print(
            f"{report.study}: {report.whole} of {report.expected} runs, "
            f"{len(report.parts) - len(left)} of {len(report.parts)} parts"
        )
        for part in left:
            print(f"  not made: {part.title}: {part.why}")
    print(f"wrote {output}")
    return int(any(part.broken for report in reports for part in report.parts))


def make_reports(results: str) -> list[Report]:
    """Return the report of each study under `results`, by name.

    Raises:
        UsageError: There are no records nor anything asked for, or they cannot be read.
    """
    asked = read_asked(results)
    needed = {*NEEDED, *about.COLUMNS, *RELATED}
    needed.update(*(picture.columns for picture in FIGURES.values()))
    columns = [name for name in COLUMNS if name in needed]
    frame, held = about.load_or_none(results, columns, None, asked)
    # text as numbers: it is grouped again and again
    kind = COLUMNS["study"].type
    text = [name for name in columns if COLUMNS[name].type == kind]
    frame = frame.astype(dict.fromkeys(text, "category"))
    there = set(frame["study"].unique().tolist())
    studies = sorted(there | set(asked))
    reports = []
    for study in studies:
        source = Source(results, study, len(studies) > 1, frame, held, asked)
        counts = source.standing[["whole", "expected"]].sum()
        reports.append(
            Report(
                study,
                results,
                int(counts["whole"]),
                int(counts["expected"]),
                make_parts(source),
            )
        )
    return reports


FORMATS: dict[str, Callable[[list[Report], str], None]] = {
    "html": write_page,
    "markdown": write_folder,
}
