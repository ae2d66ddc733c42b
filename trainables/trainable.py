"""The Ray adapter: a trial of Ray Tune is one setting with one stack of seeds."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ray import tune

from trainables.datasets import Dataset
from trainables.patience import Patience, first_line
from trainables.record import Record
from trainables.setting import Setting


class Keeper(Protocol):
    """Keeps what a trial made: see `store.Store`. Each may raise OSError."""

    study: str

    def write(self, records: list[Record]) -> None:
        """Write the records of finished runs."""

    def save_state(self, name: str, state: bytes) -> None:
        """Keep the state of runs under way."""

    def load_state(self, name: str) -> bytes | None:
        """Return the last state kept, or None."""

    def drop_state(self, name: str) -> None:
        """Forget the state of runs that are finished."""


class ContinualTrainable(tune.Trainable):
    """One step is one task; a checkpoint is the run's state and its rows so far.

    The config's `trial` is a setting's row with the `seeds`, the stack's `name`, and
    the `cpus` and `gpus` to ask for. A finished trial writes its records itself. It
    keeps its checkpoints itself too, with the results, so that the study goes on from
    them whatever becomes of Tune's own folder.

    Where storage fails, training goes on without checkpoints; a trial that cannot
    read its checkpoint or write its records tries again, a step a try.
    """

    @classmethod
    def default_resource_request(
        cls, config: dict[str, Any]
    ) -> tune.PlacementGroupFactory:
        """Return what the config asks for.

        `tune.with_resources` would do it too, but hides the class's name in the
        dashboard.
        """
        row = config["trial"]
        return tune.PlacementGroupFactory([{"CPU": row["cpus"], "GPU": row["gpus"]}])

    def setup(  # type: ignore[override]
        self,
        config: dict[str, Any],
        datasets: dict[str, Dataset],
        keeper: Keeper,
        checkpoint_every: int | None,
        patience: float = 600.0,
        probe_every: int | None = None,
        look_back: int = 0,
    ) -> None:
        """Take what all trials share, and begin.

        Args:
            config: See the class.
            datasets: By name; their arrays lie in Ray's object store.
            keeper: Where records and states go.
            checkpoint_every: Tasks between checkpoints; None: about once a minute.
            patience: Seconds to wait for storage that fails.
            probe_every: Tasks between looks at the loss's landscape; 0: never; None:
                the default.
            look_back: How many of the tasks before are tested after each.
        """
        self._datasets, self._keeper = datasets, keeper
        self._every, self._patience = checkpoint_every, Patience(patience)
        self._probe_every, self._look_back = probe_every, look_back
        self._begin(config)

    def __repr__(self) -> str:
        """Return what the dashboard calls the process, which may run many trials."""
        keeper: Keeper | None = getattr(self, "_keeper", None)
        return f"trials of the study {keeper.study}" if keeper else super().__repr__()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in the same process."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        """Start at the first task; the first step goes on from a checkpoint."""
        import torch

        from trainables.run import ContinualRun

        row = dict(config["trial"])
        seeds, self._name = row.pop("seeds"), row.pop("name")
        # more threads than CPUs make trials side by side crawl
        torch.set_num_threads(max(1, int(row.pop("cpus"))))
        device = "cuda" if row.pop("gpus") else "cpu"
        setting = Setting.from_row(row)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()  # of the trial before in this process
        self._make = functools.partial(
            ContinualRun,
            setting,
            seeds,
            self._datasets[setting.dataset],
            device,
            probe_every=self._probe_every,
            look_back=self._look_back,
        )
        self._run = self._make()
        self._records = list[Record]()
        self._looked = self._written = self._late = False
        self._tasks_kept, self._kept = 0, time.monotonic()
        self._odd: str | None = None
        self._patience.rest()

    def step(self) -> dict[str, Any]:
        """Run the next task; at the end of the stream, write the records.

        Raises:
            OSError: Storage has failed for too long.
        """
        waiting = None if self._looked else self._try(self._look)
        if self._looked:
            if not self._run.finished:
                who = {"study": self._keeper.study, "trial_id": self.trial_id}
                self._records += [who | record for record in self._run.next_task()]
            if self._run.finished:
                waiting = self._try(self._finish)
            elif self._is_due():
                waiting = self._try(self._keep, needed=False)
        lost = len(self._run.seeds) - len(self._run.alive)
        last = [r["test_accuracy"] for r in self._records[-len(self._run.seeds) :]]
        known = [accuracy for accuracy in last if accuracy is not None]
        return {
            "name": self._name,
            "tasks_done": self._run.task,
            "tasks_kept": self._tasks_kept,
            "runs_diverged": lost,
            "test_accuracy": sum(known) / len(known) if known else None,
            "gpu_memory": self._gpu_memory(),
            "waiting": waiting,
            "odd": self._odd,
            "done": self._run.finished and self._written,
        }

    def _gpu_memory(self) -> int | None:
        """Return the most bytes of the GPU that the run has held; None on a CPU."""
        if self._run.device.type != "cuda":
            return None
        import torch

        return torch.cuda.max_memory_allocated(self._run.device)

    def _try(self, action: Callable[[], None], needed: bool = True) -> str | None:
        """Have storage do something; return what is waited for, None: it is done.

        Args:
            action: What to do.
            needed: Whether nothing can go on without it.

        Raises:
            OSError: Storage has failed for too long.
        """
        try:
            action()
        except OSError as error:
            if needed:
                self._patience.wait(error)
            return first_line(error)
        self._patience.rest()
        return None

    def _look(self) -> None:
        """Go on from the last checkpoint, if there is one and it is this trial's."""
        state = self._keeper.load_state(self._name)
        self._looked = True
        if state is None:
            return
        try:
            self._restore(state)
            self._tasks_kept = self._run.task
        except Exception as error:  # whatever a stranger's bytes bring about
            self._odd = f"checkpoint not used, begun anew: {first_line(error)}"
            self._run = self._make()
            self._records = []

    def _finish(self) -> None:
        """Write the records."""
        if not self._written:
            self._keeper.write_records(self._records)
            self._written, self._tasks_kept = True, self._run.task
        # one that stays is forgotten at the end of the sweep
        with contextlib.suppress(OSError):
            self._keeper.drop_state(self._name)

    def _is_due(self) -> bool:
        if self._late:
            return True
        if self._every is not None:
            return self._run.task % self._every == 0
        return time.monotonic() - self._kept >= 60

    def _keep(self) -> None:
        self._late = True
        self._keeper.save_state(self._name, self._state())
        self._late, self._tasks_kept = False, self._run.task
        self._kept = time.monotonic()

    def _state(self) -> bytes:
        from trainables import checkpoint

        return checkpoint.pack(self._run, self._records)

    def _restore(self, state: bytes) -> None:
        from trainables import checkpoint

        self._records = checkpoint.unpack(state, self._run, self._keeper.study)
        self._looked = True

    def cleanup(self) -> None:
        """Keep what a trial that is stopped in the middle has done."""
        if self._run.task > self._tasks_kept and not self._written:
            # where storage fails, the last checkpoint stands
            with contextlib.suppress(OSError):
                self._keep()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save the run's state and its rows so far, as one file."""
        (Path(checkpoint_dir) / "state.pt").write_bytes(self._state())

    def load_checkpoint(  # type: ignore[override]
        self, checkpoint_dir: str
    ) -> None:
        """Go on from a checkpoint, to the last bit."""
        self._restore((Path(checkpoint_dir) / "state.pt").read_bytes())
