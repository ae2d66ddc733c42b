"""Probes: functions that measure the networks, for example their rank or sharpness.

A decorator declares a function as a probe, with the unit and the source of its measure.
The name of the function is the name of the column, and the first line of its docstring
is the meaning of the column. To add a probe, write it in a new file and import this
file here.

There are three groups of probes:

- `PROBES` measure the networks after every task, for example their ranks and norms.
- `LANDSCAPE` probes measure the loss near the weights, every `--landscape-every` tasks.
- `START` probes measure the networks before a task, on the examples of the task. Their
  columns begin with `start_`. Most of them repeat a probe of the other two groups.
"""

# importing a module of probes declares its measures
from trainables.probes import (  # noqa: F401
    ascent,
    batches,
    columns,
    curvature,
    dormant,
    norms,
    rank,
)
from trainables.probes.landscape import Landscape
from trainables.probes.measure import LANDSCAPE, MEASURES, PROBES, START, Function
from trainables.probes.snapshot import EXAMPLES, Snapshot

__all__ = ["EXAMPLES", "LANDSCAPE", "MEASURES", "PROBES", "START"]
__all__ += ["Function", "Landscape", "Snapshot"]
