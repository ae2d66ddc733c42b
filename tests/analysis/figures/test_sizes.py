"""Every figure at both sizes: its width, and that no text is cut off or covered."""

import re

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure

from analysis.figures import FIGURES
from analysis.figures.picture import FORMATS, SIZES, STYLE, View, wrap_text
from tests.support.boxes import covered_texts, cut_texts
from tests.support.synthetic import frame, make_run, make_setting, paper_settings
from trainables.problems import PROBLEMS
from trainables.record import KNOWN_COLUMNS


@pytest.fixture(scope="module")
def records():
    """Return both problems with the paper's settings, more rhos and a long name."""
    runs = []
    for problem in ("permuted", "pairwise"):
        settings = paper_settings(problem)[::2]
        settings.append(make_setting(problem, optimizer="sam", rho=0.1, momentum=0.9))
        for setting in settings:
            setting |= {"tasks": 12}
            runs += [make_run(setting, seed) for seed in range(3)]
    records = frame(*runs)
    random = np.random.default_rng(0)
    for name in ("start_sharpness", "sharpness", "weight_norm"):
        records[name] = random.uniform(1, 9, len(records))
    for problem, part in records.groupby("problem"):
        stream = PROBLEMS[problem]()
        labels = [
            stream.task(seed, task).label
            for seed, task in zip(part["seed"], part["task"], strict=True)
        ]
        records.loc[part.index, "task_label"] = labels
    return records


@pytest.fixture(scope="module")
def drawn_data(records):
    repeated = make_setting(batch_size=1, lr=0.003, tasks=12)
    beside = {**repeated, "optimizer": "sam", "rho": 0.02}
    runs = [make_run(setting, s) for setting in (repeated, beside) for s in range(3)]
    own = {"replication": frame(*runs)}
    return {
        name: picture.data(
            own.get(name, records), View(metrics=picture.metrics), KNOWN_COLUMNS
        )
        for name, picture in FIGURES.items()
    }


MANY_PANELS = ("sharpness", "capacity", "forgetting")


@pytest.mark.parametrize(
    ("name", "size"),
    [  # one column is the harder one; these arrange their panels by the width
        *((name, "one-column") for name in FIGURES),
        *((name, "two-column") for name in ("accuracy", "forest", "rho", "sharpness")),
    ],
)
def test_a_figure_has_exactly_the_width_of_a_column_and_no_text_is_cut_off_or_covered(
    drawn_data, name, size
):
    inches, data = SIZES[size], drawn_data[name]
    if size == "two-column" or name in MANY_PANELS:  # half the panels, to save time
        data = data[data["problem"] == "permuted"]
    with rc_context(STYLE):
        figure = FIGURES[name].draw(data, inches)
        assert cut_texts(figure) == []
        assert covered_texts(figure) == []
    assert figure.get_size_inches()[0] == inches


@pytest.mark.parametrize(
    ("name", "size"), [("accuracy", "one-column"), ("rho", "two-column")]
)
def test_a_file_has_exactly_the_width_of_a_column(drawn_data, name, size):
    svg, width = FIGURES[name].render(drawn_data[name], "svg", SIZES[size])
    assert width == SIZES[size]
    points = re.search(r'<svg[^>]* width="([\d.]+)pt"', svg.decode())[1]
    assert float(points) / 72 == pytest.approx(SIZES[size], abs=1e-4)
    assert not any("bbox_inches" in options for options in FORMATS.values())


def test_the_checks_see_a_text_that_is_cut_off_and_one_that_is_covered():
    figure = Figure(figsize=(2, 2))
    figure.text(0.9, 0.5, "too long for the figure")
    assert cut_texts(figure) == ["too long for the figure"]
    figure.text(0.8, 0.5, "covered")
    assert covered_texts(figure) == [("too long for the figure", "covered")]


def test_a_word_that_is_wider_than_a_line_is_broken():
    lines = wrap_text("a " + "w" * 40 + " b", 1, 9).splitlines()
    assert len(lines) > 4
    assert "".join(lines) == "a" + "w" * 40 + " b"


@pytest.mark.parametrize("size", SIZES)
def test_a_long_name_of_a_study_fits(drawn_data, size):
    data = drawn_data["accuracy"].assign(study="a-very-long-name-" * 12)
    data = data[data["problem"] == "permuted"]
    with rc_context(STYLE):
        figure = FIGURES["accuracy"].draw(data, SIZES[size])
        assert cut_texts(figure) == []


def test_the_tasks_have_the_order_of_the_paper_whatever_the_order_of_the_files(records):
    data = FIGURES["tasks"].data(records[::-1], View(), KNOWN_COLUMNS)
    assert data["problem"].unique().tolist() == ["permuted", "pairwise"]
