"""Make and write the reports of studies."""

from __future__ import annotations

from analysis.figures import FIGURES
from analysis.records.request import read_requests
from analysis.report.build import PROBES, Source, build_parts
from analysis.report.page import write_page
from analysis.report.parts import Report
from analysis.tables import about


def write_report(results: str, output: str) -> int:
    """Write the report of all studies under `results`, and print a summary.

    The same records give the same bytes.

    Args:
        results: As for `analysis.records.load.load`.
        output: The file.

    Returns:
        An exit status: 1 if this program failed to make a part, else 0.

    Raises:
        UsageError: There is neither a readable record nor a study.json, or `output`
            cannot be written.
    """
    reports = make_reports(results)
    write_page(reports, output)
    for report in reports:
        left_out = [part for part in report.parts if part.problem]
        made = len(report.parts) - len(left_out)
        print(
            f"{report.study}: {report.complete} of {report.expected} runs, "
            f"{made} of {len(report.parts)} parts"
        )
        for part in left_out:
            print(f"  left out: {part.title}: {part.problem}")
    print(f"wrote {output}")
    return int(any(part.failed for report in reports for part in report.parts))


def make_reports(results: str) -> list[Report]:
    """Return the report of each study under `results`, by name.

    Raises:
        UsageError: There is neither a readable record nor a study.json.
    """
    requests = read_requests(results)
    needed = {*about.COLUMNS, *PROBES}
    needed.update(*(picture.columns for picture in FIGURES.values()))
    records = about.load_or_empty(results, sorted(needed), None, requests)
    frame = records.to_frame()
    # text as numbers: it is grouped again and again
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
