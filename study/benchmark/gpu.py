"""The command that measures a GPU: steps, and whole studies in one process without Ray.

    steps   the training step at several widths, batch sizes and stacks, beside the
            floor, the usual loop and torch.func.vmap
    paper   the whole study `paper`, with the probes and the loss landscape
    rho     the study `rho`, as much of it as the time allows; short runs come first

The studies are planned as a sweep plans them, and their records are Parquet files.
After a stop, the same command continues with the trials that have no records.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from rich.progress import Progress

from study.benchmark.__main__ import parse_names, parse_numbers
from study.console import Text, console, say
from study.plan.cost import seeds_that_fit
from study.plan.trials import Trial, plan
from study.results.claim import claim
from study.results.provenance import hardware, software
from study.results.store import Store
from study.spec.studies import STUDIES, Study
from trainables.data import Dataset, load
from trainables.hyperparameter import check_real, check_whole
from trainables.patience import first_line
from trainables.record import Record
from trainables.setting import RunOptions, Setting
from trainables.usage import UsageError, choose, format_duration, run_command

PARTS = ("steps", "paper", "rho")
FILE = "gpu.json"
POWER_SECONDS = 1.0  # between two measurements of the GPU's power
CPU_MEMORY = 4e9  # bytes for the networks of a trial, if there is no GPU


def gpu(
    *,
    parts: str = "steps,paper,rho",
    results: str = "gpu-results",
    data_dir: Text = None,
    minutes: float = 5.0,
    widths: str = "100,2000",
    batch_sizes: str = "16,64,256",
    stacks: str = "1,10,64,512",
    rounds: int = 5,
    device: str = "cuda",
) -> int:
    """Measure how fast this GPU trains, without Ray.

    Args:
        parts: What to measure: steps, paper, rho, or several of them.
        results: The folder for the records of the studies and for the measurements.
        data_dir: The folder with the dataset's files. The default is $PLASTICITY_DATA.
        minutes: The study rho starts no trial after this number of minutes.
        widths: The widths of the three hidden layers of the timed steps.
        batch_sizes: The batch sizes of the timed steps.
        stacks: How many networks to train together in the timed steps. Stacks that do
            not fit into the GPU's memory are left out.
        rounds: The number of rounds. Each round times every step once.
        device: cuda, or cpu to try this command without a GPU.
    """
    chosen = parse_names("part", parts, PARTS)
    shapes = [
        Setting(batch_size=size, hidden=(width,) * 3)
        for width in parse_numbers("--widths", widths)
        for size in parse_numbers("--batch-sizes", batch_sizes)
    ]
    stack_sizes = parse_numbers("--stacks", stacks)
    check_whole("--rounds", rounds)
    check_real("--minutes", minutes)
    choose("device", device, ("cuda", "cpu"))
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "PyTorch finds no GPU: use a machine with one, or --device cpu to try this "
            "command"
        )
    folder = Path(results).expanduser()
    _load(folder)  # a damaged file must fail before the measurements
    studies = [STUDIES[name] for name in ("paper", "rho") if name in chosen]
    data = {"mnist": load("mnist", data_dir)} if studies else {}
    if device == "cuda":
        memory = memory_of(device) / 2**30
        say(f"GPU: {torch.cuda.get_device_name()}, {memory:.0f} GiB")
    if "steps" in chosen:
        timed = _time_steps(shapes, stack_sizes, rounds, device)
        _save(folder, {"steps": timed})
    for study in studies:
        limit = 60 * minutes if study.name == "rho" else None
        with claim(Store(str(folder), study.name, software())) as store:
            measured = run_study(study, store, data, device, limit)
        say(f"{study.name}: {describe(measured)}")
        calls = _load(folder).get(study.name, [])
        _save(folder, {study.name: [*calls, measured]})
    if "paper" in chosen:
        say(
            f"Now run: python -m analysis compare {folder}/paper\n"
            f"         python -m analysis diff docs/data/paper {folder}/paper"
        )
    return 0


def memory_of(device: str) -> float:
    """Return the bytes of memory of the GPU, or `CPU_MEMORY` for the device cpu."""
    import torch

    if device == "cpu":
        return CPU_MEMORY
    return float(torch.cuda.get_device_properties(0).total_memory)


def _load(folder: Path) -> dict[str, Any]:
    """Create the folder; return what earlier calls of this command have measured.

    Raises:
        UsageError: The folder or the file of the measurements cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = json.loads((folder / FILE).read_text())
        return dict(content)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be used ({first_line(error)}): choose another folder "
            "with --results"
        ) from None
    except (ValueError, TypeError):
        raise UsageError(
            f"{folder / FILE} is damaged: move it away, or choose another folder with "
            "--results"
        ) from None


def _save(folder: Path, measured: dict[str, Any]) -> None:
    """Save measurements beside those of earlier calls, with what made them."""
    made_by = {"made_by": software() | hardware()}
    content = json.dumps(_load(folder) | measured | made_by, indent=1)
    (folder / FILE).write_text(content)


def _time_steps(
    shapes: list[Setting],
    stacks: list[int],
    rounds: int,
    device: str,
) -> list[dict[str, Any]]:
    """Time the steps of SGD, SAM and GNP with networks of each shape; print tables."""
    from study.benchmark import steps
    from study.benchmark.peers import PEERS

    data, rows, memory = steps.digits(), [], memory_of(device)
    names, peers = ["sgd", "sam", "gnp"], {"torch.func": PEERS["torch.func"]}
    for shape in shapes:
        fitting = [size for size in stacks if size <= seeds_that_fit(shape, memory)]
        own = steps.time_steps(shape, names, fitting, rounds, device, data, peers)
        hidden = shape.row()["hidden"]
        say(f"Hidden layers {hidden}, batch size {shape.batch_size}:")
        console.print(steps.step_table(own))
        rows += [{"hidden": hidden, **row} for row in own]
    return rows


@attrs.frozen
class StudyMeasurement:
    """The time of a study, and what the GPU needed for it."""

    runs: int  # that this call has trained
    left: int  # runs without records
    seconds: float
    memory: float | None = None  # the most bytes of GPU memory
    watts: float | None = None  # the mean power of the GPU


def run_study(
    study: Study,
    store: Store,
    data: dict[str, Dataset],
    device: str,
    limit: float | None = None,
) -> dict[str, Any]:
    """Train the runs of a study that have no records, trial by trial in this process.

    Args:
        study: The study.
        store: The store for the records.
        data: The datasets, by name.
        device: cuda or cpu.
        limit: No trial starts after this many seconds.

    Returns:
        The values of `StudyMeasurement`.
    """
    import torch

    options = RunOptions(landscape_every=study.landscape_every)
    rows, memory = study.rows(), memory_of(device)
    finished = store.finished_runs() & {
        setting.run_id(seed) for setting in study.settings for seed in study.seeds
    }
    store.save_request(store.load_request().with_settings(rows, study.seeds))
    most, total = None, len(study.settings) * len(study.seeds)

    def trials_left(finished: set[str]) -> list[Trial]:
        left = plan(
            study,
            finished,
            [],
            stack_size=None,
            slots=1,
            gpu_memory=memory,
            can_join=True,
            most_networks=most,
        )
        # if time is short, many runs say more than the longest ones
        return sorted(left, key=lambda trial: trial.cost.work / trial.runs)

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before, started = set(finished), time.monotonic()
    with power_meter(device) as watts, Progress(console=console, transient=True) as bar:
        line = bar.add_task(study.name, total=total - len(before))
        while trials := trials_left(finished):
            if limit is not None and time.monotonic() - started > limit:
                break
            trial = trials[0]
            records: list[Record] = []
            dataset = data[trial.setting.dataset]
            origin: Record = {"study": study.name, "trial_id": "gpu"}
            bar.update(line, completed=len(finished - before))
            try:
                for new in _train(trial, dataset, device, options):
                    records += [origin | row for row in new]
                    bar.advance(line, trial.runs / trial.tasks)
            except torch.OutOfMemoryError:
                if trial.runs == 1:
                    raise
                most = trial.runs // 2
                say(
                    f"A trial with {trial.runs} networks ran out of memory. Its runs "
                    f"start again in trials with at most {most} networks."
                )
                continue
            for own in trial.setting_ids:
                store.write_records([r for r in records if r["setting_id"] == own])
            finished |= set(trial.run_ids)
    # graphs have memory that is reserved for them
    peak = float(torch.cuda.max_memory_reserved()) if device == "cuda" else None
    return attrs.asdict(
        StudyMeasurement(
            runs=len(finished - before),
            left=total - len(finished),
            seconds=time.monotonic() - started,
            memory=peak,
            watts=sum(watts) / len(watts) if watts else None,
        )
    )


def _train(
    trial: Trial, dataset: Dataset, device: str, options: RunOptions
) -> Iterator[list[Record]]:
    """Train the runs of a trial; yield the records of each task.

    The networks are freed at the end, before the next trial needs their memory.
    """
    from trainables.start import start_trial

    run = start_trial(trial.settings, trial.seeds, dataset, device, options=options)
    while not run.finished:
        yield run.next_task()


@contextlib.contextmanager
def power_meter(device: str) -> Iterator[list[float]]:
    """Measure the power of the GPU in watts, until the `with` statement ends.

    The list stays empty without nvidia-smi.
    """
    watts: list[float] = []
    command = shutil.which("nvidia-smi") if device == "cuda" else None
    ended = threading.Event()
    query = ["--query-gpu=power.draw", "--format=csv,noheader,nounits"]

    def measure() -> None:
        while command and not ended.wait(POWER_SECONDS):
            with contextlib.suppress(OSError, ValueError):
                answer = subprocess.run(
                    [command, *query], capture_output=True, text=True
                )
                watts.append(float(answer.stdout.splitlines()[0]))

    thread = threading.Thread(target=measure, daemon=True)
    thread.start()
    try:
        yield watts
    finally:
        ended.set()
        thread.join()


def describe(measured: dict[str, Any]) -> str:
    """Return the values of `StudyMeasurement` as text.

    >>> describe(attrs.asdict(StudyMeasurement(runs=3, left=1, seconds=90)))
    '3 runs in 1 min 30 s; runs without records: 1'
    """
    text = f"{measured['runs']} runs in {format_duration(measured['seconds'])}"
    if measured["left"]:
        text += f"; runs without records: {measured['left']}"
    if measured["memory"] is not None:
        text += f"; at most {measured['memory'] / 2**30:.1f} GiB of GPU memory"
    if measured["watts"] is not None:
        text += f"; {measured['watts']:.0f} W on average"
    return text


if __name__ == "__main__":
    run_command(gpu, prog="python -m study.benchmark.gpu")
