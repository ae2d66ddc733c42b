"""Probes: what is measured on the networks beside their accuracy.

A probe is a function with a decorator that declares its column, unit, source and
meaning. To add one, write a file and import it here.

- `PROBES` look at the networks after every task: capacity, norms, distances.
- `LANDSCAPE` looks at the loss around the weights, every `--landscape-every` tasks.
- `START` repeats some of them before such a task, on its examples: what the previous
  task left for the next one. Its columns begin with `start_`.
"""

from trainables.probes import (  # noqa: F401 - a module declares its measures on import
    accuracy,
    ascent,
    distance,
    dormant,
    norms,
    rank,
    sharpness,
    trace,
)
from trainables.probes.landscape import Landscape
from trainables.probes.measure import MEASURES, Measure
from trainables.probes.snapshot import EXAMPLES, Snapshot

PROBES = {
    m.column: m
    for m in MEASURES.values()
    if m.subject == "network" and not m.before_task
}
LANDSCAPE = {
    m.column: m
    for m in MEASURES.values()
    if m.subject == "landscape" and not m.before_task
}
START = {m.column: m for m in MEASURES.values() if m.before_task}

__all__ = [
    "EXAMPLES",
    "LANDSCAPE",
    "MEASURES",
    "PROBES",
    "START",
    "Landscape",
    "Measure",
    "Snapshot",
]
