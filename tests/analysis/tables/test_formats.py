import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.tables.formats import (
    FORMATS,
    Column,
    Sheet,
    set_latex,
    set_markdown,
    set_rich,
)

TEXT = st.text("abc &%$#_{}~^\\|[]/±–1.-", max_size=12)


@st.composite
def sheets(draw, text=TEXT):
    unit = st.just("") | text
    columns = draw(
        st.lists(st.tuples(text, unit, st.booleans()), min_size=1, max_size=4)
    )
    row = st.lists(text, min_size=len(columns), max_size=len(columns))
    return Sheet(
        draw(TEXT),
        draw(TEXT),
        [Column(*column) for column in columns],
        draw(st.lists(row, min_size=1, max_size=4)),
        draw(st.lists(TEXT, max_size=2)),
    )


@given(sheet=sheets())
def test_a_markdown_table_has_a_cell_a_column(sheet):
    lines = [x for x in set_markdown([sheet], []).splitlines() if x.startswith("| ")]
    bars = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
    assert len(lines) >= len(sheet.rows) + 2
    assert len(sheet.columns) + 1 in bars


@given(sheet=sheets())
def test_latex_is_balanced_and_escaped(sheet):
    text = set_latex([sheet], [])
    plain = re.sub(r"\\[\\&%$#_{}]", "", text)
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    assert not set("#_^~") & set(plain)
    body = plain[plain.index(r"\midrule") : plain.index(r"\bottomrule")]
    assert body.count("&") == len(sheet.rows) * (len(sheet.columns) - 1)
    assert text.count(r"\begin{") == text.count(r"\end{") == 2


SHEET = Sheet(
    "title",
    "caption",
    [Column("name"), Column("much", "%", right=True)],
    [["a[b]", "1.0 ± 2.0"], ["x" * 150, "-3.5"]],
    ["a note"],
)


def test_what_is_no_terminal_gets_whole_plain_lines():
    text = set_rich([SHEET], ["explained"])
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())
    assert "a[b]" in text
    assert "x" * 150 in text
    assert "…" not in text


def test_a_narrow_terminal_folds_but_loses_nothing(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    text = re.sub(r"\x1b\[[\d;]*m", "", set_rich([SHEET], []))
    assert "…" not in text
    assert text.count("x") == 150
    assert max(map(len, text.splitlines())) <= 40


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_everything(name):
    text = FORMATS[name]([SHEET], ["explained"])
    for said in ("title", "caption", "name", "much", "-3.5", "a note", "explained"):
        assert said in text
