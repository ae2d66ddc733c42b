"""Probes: measures of the networks other than loss and accuracy.

A probe is a function with a decorator that declares its unit and source. The column of
the probe has the name of the function, and its meaning is the first line of the
docstring. To add a probe, write it in a new file and import this file here.

- `PROBES` measure the networks after every task: capacity, norms, distances.
- `LANDSCAPE` probes measure the loss around the weights, every `--landscape-every`
  tasks.
- `START` probes repeat some of these measures before the task, on the examples of the
  task. They show the state in which the previous task left the networks. Their columns
  begin with `start_`.
"""

# importing a module declares its measures
from trainables.probes import accuracy, ascent, curvature, dormant, norms, rank  # noqa: F401
from trainables.probes.landscape import Landscape
from trainables.probes.measure import LANDSCAPE, MEASURES, PROBES, START, Function
from trainables.probes.snapshot import EXAMPLES, Snapshot

__all__ = ["EXAMPLES", "LANDSCAPE", "MEASURES", "PROBES", "START"]
__all__ += ["Function", "Landscape", "Snapshot"]
