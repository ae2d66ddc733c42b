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
from trainables.probes.measure import MEASURES, Function, Measure
from trainables.probes.snapshot import EXAMPLES, Snapshot


def _functions(subject: str, *, before_task: bool = False) -> dict[str, Function]:
    return {
        measure.column: measure.function
        for measure in MEASURES.values()
        if measure.function
        and (measure.subject, measure.before_task) == (subject, before_task)
    }


PROBES = _functions("network")
LANDSCAPE = _functions("landscape")
START = _functions("landscape", before_task=True)

__all__ = [
    "EXAMPLES",
    "LANDSCAPE",
    "MEASURES",
    "PROBES",
    "START",
    "Function",
    "Landscape",
    "Measure",
    "Snapshot",
]
