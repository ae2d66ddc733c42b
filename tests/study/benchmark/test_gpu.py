"""The command that measures a GPU, tried on a CPU: it runs studies without Ray."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import attrs
import pandas as pd
import pytest
import torch

from study.benchmark import gpu as command
from study.benchmark import steps
from study.benchmark.gpu import gpu, power_meter, run_study
from study.benchmark.peers import function_loop
from study.results.store import Store
from study.spec.studies import Study, grid
from tests.support.fake_gpu import fake_gpu
from trainables import start
from trainables.joint import JointRun
from trainables.optimizers import GNP, SAM, SGD
from trainables.problems import Pairwise, Permuted
from trainables.request import Request
from trainables.run import ContinualRun
from trainables.setting import RunOptions, Setting
from trainables.usage import UsageError

STUDY = Study(
    "paper",
    grid(
        [Permuted(), Pairwise()],
        [SGD(), SGD(lr=0.1), SAM(), GNP(lr=0.1)],
        dataset="mnist-5k",
        tasks=2,
        hidden=(6,),
    ),
    seeds=range(3),
    landscape_every=0,
)


def read(store):
    frame = pd.read_parquet(f"{store.location()}/records")
    return frame.sort_values(["setting_id", "seed", "task"], ignore_index=True)


def test_a_study_without_ray_has_the_records_of_its_runs(few, tmp_path):
    store, data = Store(str(tmp_path), "paper"), {"mnist-5k": few}
    measured = run_study(STUDY, store, data, "cpu")
    assert (measured["runs"], measured["left"], measured["memory"]) == (24, 0, None)
    frame = read(store)
    rows = []
    for setting in STUDY.settings:
        run = ContinualRun(
            setting, STUDY.seeds, few, options=RunOptions(landscape_every=0)
        )
        while not run.finished:
            rows += run.next_task()
    own = pd.DataFrame(rows).sort_values(
        ["setting_id", "seed", "task"], ignore_index=True
    )
    assert (frame["run_id"] == own["run_id"]).all()
    assert abs(frame["train_loss"] - own["train_loss"]).max() < 1e-4
    again = run_study(STUDY, store, data, "cpu")
    assert (again["runs"], again["left"]) == (0, 0)


def test_a_study_whose_time_is_over_goes_on_later(few, tmp_path):
    store, data = Store(str(tmp_path), "rho"), {"mnist-5k": few}
    first = run_study(STUDY, store, data, "cpu", -1.0)
    assert (first["runs"], first["left"]) == (0, 24)
    later = run_study(STUDY, store, data, "cpu")
    assert (later["runs"], later["left"]) == (24, 0)


def test_a_trial_that_lacks_memory_is_tried_with_fewer_networks(
    few, tmp_path, monkeypatch, capsys
):
    sizes = []

    class Small(JointRun):
        def __init__(self, settings, seeds, *args, **options):
            sizes.append(len(settings) * len(seeds))
            if sizes[-1] > 5:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            super().__init__(settings, seeds, *args, **options)

    monkeypatch.setattr(start, "JointRun", Small)
    study = attrs.evolve(STUDY, settings=STUDY.settings[2:4], seeds=(0, 1, 2))
    store = Store(str(tmp_path), "paper")
    measured = run_study(study, store, {"mnist-5k": few}, "cpu")
    assert (measured["runs"], measured["left"]) == (6, 0)
    assert sizes == [6]  # then each setting trains alone
    assert "A trial with 6 networks ran out of memory." in capsys.readouterr().out


def test_the_command_measures_and_saves(few, tmp_path, monkeypatch, capsys, digits):
    monkeypatch.setattr(steps, "ROUND_SECONDS", 0.0)
    monkeypatch.setattr(steps, "digits", lambda: steps.repeat_images(digits, 300, 50))
    monkeypatch.setattr(
        command, "STUDIES", {"paper": STUDY, "rho": attrs.evolve(STUDY, name="rho")}
    )
    monkeypatch.setattr(command, "load", lambda name, folder: few)
    monkeypatch.setattr(command, "run_study", with_5k(few))
    options = {"widths": "5", "batch_sizes": "4", "stacks": "1,2", "rounds": 1}
    assert gpu(results=str(tmp_path), device="cpu", **options) == 0
    said = capsys.readouterr().out
    assert "torch.func gnp" in said
    assert "paper: 24 runs in" in said
    assert "rho: 24 runs in" in said
    saved = json.loads((tmp_path / "gpu.json").read_text())
    assert saved.keys() == {"steps", "paper", "rho", "made_by"}
    assert {row["hidden"] for row in saved["steps"]} == {"5-5-5"}
    assert gpu(results=str(tmp_path), device="cpu", parts="paper") == 0
    again = json.loads((tmp_path / "gpu.json").read_text())
    assert again["steps"] == saved["steps"]
    assert [call["runs"] for call in again["paper"]] == [24, 0]


def with_5k(few):
    """Return `run_study` with the dataset of the small study."""

    def run(study, store, data, *args):
        return run_study(study, store, {"mnist-5k": few}, *args)

    return run


def test_a_study_and_the_steps_run_on_a_gpu(few, tmp_path, monkeypatch, digits):
    """Except for the usual loop, whose layers cannot be on a fake GPU."""
    store, data = Store(str(tmp_path), "paper"), {"mnist-5k": few}
    again = steps.repeat_images(digits, 300, 50)
    shape = Setting(hidden=(6,), batch_size=4, optimizer=SAM())
    with fake_gpu(monkeypatch) as gpu:
        study = attrs.evolve(STUDY, settings=STUDY.settings[2:4])
        measured = run_study(study, store, data, "cuda")
        for make in (steps.our_loop, steps.products, function_loop):
            assert make(shape, 3, steps.GPU_MIN_STEPS, "cuda", again)() == 3 * 64
    assert (measured["runs"], measured["memory"]) == (6, 2**31)
    assert (read(store)["device"] == "fake").all()
    assert gpu.graphs == 2


def test_a_missing_gpu_and_an_unknown_part_are_usage_errors(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="PyTorch finds no GPU"):
        gpu()
    with pytest.raises(UsageError, match="unknown part 'papre': did you mean 'paper'"):
        gpu(parts="papre")


def test_a_device_a_folder_and_a_file_that_cannot_be_used_are_usage_errors(tmp_path):
    with pytest.raises(UsageError, match="unknown device 'gpu'"):
        gpu(device="gpu")
    file = tmp_path / "gpu.json"
    for content in ("{", "3", "[1]"):
        file.write_text(content)
        with pytest.raises(UsageError, match=r"gpu.json is damaged: move it away"):
            gpu(device="cpu", results=str(tmp_path))
    with pytest.raises(UsageError, match=r"cannot be used .*another folder"):
        gpu(device="cpu", results=str(file))


def test_the_request_of_an_earlier_sweep_is_kept(few, tmp_path):
    store = Store(str(tmp_path), "paper")
    other = Study("paper", grid([Permuted()], [SGD(lr=0.5)], tasks=3), seeds=(7,))
    before = Request(study="paper").with_settings(other.rows(), other.seeds)
    store.save_request(before.with_stacks(other.rows(), ["f00d-seeds-7"], 2))
    study = attrs.evolve(STUDY, settings=STUDY.settings[:1])
    run_study(study, store, {"mnist-5k": few}, "cpu")
    request = store.load_request()
    assert request.settings.keys() == {*other.rows(), *study.rows()}
    assert request.stacks == ("f00d-seeds-7",)


def test_power_is_what_nvidia_smi_says(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 312.50\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(command, "POWER_SECONDS", 0.01)
    with power_meter("cuda") as watts:
        deadline = time.monotonic() + 30
        while len(watts) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(watts) >= 2
    assert set(watts) == {312.5}
    with power_meter("cpu") as watts:
        pass
    assert watts == []


def test_the_command_needs_no_ray():
    """So that it runs where Ray is not installed."""
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "import study.benchmark.gpu, study.benchmark.steps, study.benchmark.peers\n"
        "import trainables.start\n"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
