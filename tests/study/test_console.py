"""What reaches the terminal is text, and nothing that a terminal obeys."""

from __future__ import annotations

from rich.table import Table

from study.console import console, say


def test_control_characters_are_replaced(capsys):
    say("a\x1b[31mb\n\tc")
    table = Table("d\x07")
    table.add_row("e\x9b2J")
    console.print(table)
    text = capsys.readouterr().out
    assert text.startswith("a\ufffd[31mb\n")
    for part in ("d\ufffd", "e\ufffd2J"):
        assert part in text
    assert not set(text) & set("\x1b\x07\x9b")
