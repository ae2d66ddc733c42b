"""The numbers in the docs are those that the commands beside them print.

The commands are run on `docs/data`, where the records of some studies are kept.
"""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from tests.support.command import call

ROOT = Path(__file__).parents[2]
DATA = ROOT / "docs" / "data"

COMMAND = re.compile(r"`python -m analysis ([^`]+)`")
PAIR = r"-?\d+\.\d+(?: ± \d+\.\d+| \(-?\d+\.\d+ to -?\d+\.\d+\))"
"""A mean with its interval."""

NUMBER = rf"{PAIR}|-?\d+\.\d+ to -?\d+\.\d+|-?\d+\.\d+|\de-\d+"


def sections(file, mark):
    """Yield the parts of a page, by the first line of each."""
    for part in re.split(rf"^(?={mark})", (ROOT / file).read_text(), flags=re.M):
        yield part.split("\n")[0], part


def commands(text):
    """Return the commands of a text whose records are in `docs/data`."""
    found = []
    for command in COMMAND.findall(" ".join(text.split())):
        args = shlex.split(command)
        names = [arg.partition("results/")[2] for arg in args]
        places = [i for i, n in enumerate(names) if n and (DATA / n).is_dir()]
        if places and not args[-1].endswith((".svg", ".html")):
            args[places[0]] = f"docs/data/{names[places[0]]}"
            found.append(args)
    return found


def numbers(text):
    """Return the numbers that a text takes from records.

    In a table these are all numbers with a decimal point, but for the first column,
    which has settings. In sentences these are the means with an interval.
    """
    found = set()
    for line in text.split("\n"):
        if line.startswith("|"):
            for cell in line.split("|")[2:]:
                found.update(re.findall(NUMBER, cell))
    sentences = " ".join(line for line in text.split("\n") if line[:1] != "|")
    return found | set(re.findall(PAIR, " ".join(sentences.split())))


def output(args, folder):
    """Return what a command prints; of a csv file, the means with their intervals."""
    if args[-1].endswith(".csv"):
        args = [*args[:-1], folder / args[-1]]
    done = call(*args, cwd=ROOT)
    assert done.returncode == 0, (args, done.stderr)
    if not str(args[-1]).endswith(".csv"):
        return done.stdout
    rows = pd.read_csv(args[-1])
    half = (rows["hi"] - rows["lo"]) / 2
    return "\n".join(
        f"{m:.1f} ± {h:.1f}" for m, h in zip(rows["mean"], half, strict=True)
    )


PARTS = {
    title: part
    for file, mark in (("docs/results.md", "## "), ("README.md", r"\d+\. "))
    for title, part in sections(file, mark)
    if re.match(mark, part) and commands(part)
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Return a function that runs a command once."""
    folder = tmp_path_factory.mktemp("figures")
    return functools.cache(lambda *args: output(args, folder))


@pytest.mark.parametrize("title", PARTS)
def test_the_commands_print_the_numbers(title, printed):
    text = PARTS[title]
    said = " ".join(" ".join(printed(*args).split()) for args in commands(text))
    missing = [
        number
        for number in sorted(numbers(text))
        if not re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.])", said)
    ]
    assert missing == [], title


def test_there_are_numbers_to_check():
    assert len(PARTS) > 8
    assert sum(len(numbers(part)) for part in PARTS.values()) > 110
