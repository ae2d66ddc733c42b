"""Probes: what is measured on the networks beside their accuracy.

A probe is a function with a decorator that declares its unit and source. Its column has
the function's name, and means what the first line of its docstring says. To add one,
write a file and import it here.

- `PROBES` look at the networks after every task: capacity, norms, distances.
- `LANDSCAPE` looks at the loss around the weights, every `--landscape-every` tasks.
- `START` repeats some of them before such a task, on its examples: what the previous
  task left for the next one. Its columns begin with `start_`.
"""

# a module declares its measures on import
from trainables.probes import accuracy, ascent, curvature, dormant, norms, rank  # noqa: F401
from trainables.probes.landscape import Landscape
from trainables.probes.measure import LANDSCAPE, MEASURES, PROBES, START, Function
from trainables.probes.snapshot import EXAMPLES, Snapshot

__all__ = ["EXAMPLES", "LANDSCAPE", "MEASURES", "PROBES", "START"]
__all__ += ["Function", "Landscape", "Snapshot"]
