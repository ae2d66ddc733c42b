"""The Ray adapter: a trial of Ray Tune is one setting with one stack of seeds."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any, Protocol

from ray import tune

from trainables.datasets import Dataset
from trainables.record import Record
from trainables.setting import Setting


class Keeper(Protocol):
    """Keeps what a trial made: see `study.store.Store`."""

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
    ) -> None:
        """Take what all trials share, and begin.

        Args:
            config: See the class.
            datasets: By name; their arrays lie in Ray's object store.
            keeper: Where records and states go.
            checkpoint_every: Tasks between checkpoints; None: about once a minute.
        """
        self._datasets, self._keeper = datasets, keeper
        self._every = checkpoint_every
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in the same process."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        """Start from the last checkpoint, or from the first task."""
        import torch

        from trainables.run import ContinualRun

        row = dict(config["trial"])
        seeds, self._name = row.pop("seeds"), row.pop("name")
        # more threads than CPUs make trials side by side crawl
        torch.set_num_threads(max(1, int(row.pop("cpus"))))
        device = "cuda" if row.pop("gpus") else "cpu"
        setting = Setting.from_row(row)
        self._records: list[Record] = []
        self._run = ContinualRun(
            setting, seeds, self._datasets[setting.dataset], device
        )
        self._kept = time.monotonic()
        state = self._keeper.load_state(self._name)
        if state is not None:
            self._restore(state)

    def step(self) -> dict[str, Any]:
        """Run the next task; at the end of the stream, write the records."""
        if not self._run.finished:
            who = {"study": self._keeper.study, "trial_id": self.trial_id}
            self._records += [who | record for record in self._run.next_task()]
        if self._run.finished:
            self._keeper.write(self._records)
            self._keeper.drop_state(self._name)
        elif self._is_due():
            self._keep()
        lost = len(self._run.seeds) - len(self._run.alive)
        last = [r["test_accuracy"] for r in self._records[-len(self._run.seeds) :]]
        known = [accuracy for accuracy in last if accuracy is not None]
        return {
            "name": self._name,
            "tasks_done": self._run.task,
            "runs_diverged": lost,
            "test_accuracy": sum(known) / len(known) if known else None,
            "done": self._run.finished,
        }

    def _is_due(self) -> bool:
        if self._every is not None:
            return self._run.task % self._every == 0
        return time.monotonic() - self._kept >= 60

    def _keep(self) -> None:
        self._keeper.save_state(self._name, self._state())
        self._kept = time.monotonic()

    def _state(self) -> bytes:
        import torch

        buffer = io.BytesIO()
        whole = {"run": self._run.state_dict(), "records": self._records}
        torch.save(whole, buffer)
        return buffer.getvalue()

    def _restore(self, state: bytes) -> None:
        import torch

        whole = torch.load(io.BytesIO(state), weights_only=True)
        self._run.load_state_dict(whole["run"])
        self._records = whole["records"]

    def cleanup(self) -> None:
        """Keep what a trial that is stopped in the middle has done."""
        if self._run.task > 0 and not self._run.finished:
            self._keep()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save the run's state and its rows so far, as one file."""
        (Path(checkpoint_dir) / "state.pt").write_bytes(self._state())

    def load_checkpoint(  # type: ignore[override]
        self, checkpoint_dir: str
    ) -> None:
        """Go on from a checkpoint, to the last bit."""
        self._restore((Path(checkpoint_dir) / "state.pt").read_bytes())
