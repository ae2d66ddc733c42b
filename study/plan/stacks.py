"""A stack's name, which its files have: the setting's hash and the seeds."""

from __future__ import annotations

import re
from collections.abc import Iterable

MOST = 1_000_000
"""Seeds in a row that a name is believed to mean."""


def stack_name(setting_id: str, seeds: Iterable[int]) -> str:
    """Return the name of one setting's stack of seeds.

    >>> stack_name("f00d", [2, 0, 1, 7])
    'f00d-seeds-0-2+7'
    """
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1][1:] = [seed]
        else:
            runs.append([seed])
    return f"{setting_id}-seeds-" + "+".join("-".join(map(str, r)) for r in runs)


def parse_stack_name(name: str) -> tuple[str, tuple[int, ...]]:
    """Return what `stack_name` was given; no seeds for another name.

    >>> parse_stack_name("f00d-seeds-0-2+7")
    ('f00d', (0, 1, 2, 7))
    """
    part = r"\d+(?:-\d+)?"
    found = re.fullmatch(rf"([0-9a-f]+)-seeds-({part}(?:\+{part})*)", name, re.ASCII)
    if not found:
        return name, ()
    seeds: list[int] = []
    for run in found[2].split("+"):
        first, _, last = run.partition("-")
        if int(last or first) - int(first) >= MOST:
            return name, ()
        seeds.extend(range(int(first), int(last or first) + 1))
    if stack_name(found[1], seeds) != name or len(set(seeds)) < len(seeds):
        return name, ()
    return found[1], tuple(seeds)
