"""Settings that train together: each of them is the run of its own."""

from __future__ import annotations

import attrs
import pytest
import torch

from trainables.bases import Adam
from trainables.interventions import (
    INTERVENTIONS,
    Fresh,
    L2Init,
    LayerNorm,
    ReDo,
    SpectralRegularization,
)
from trainables.joint import JointRun
from trainables.networks import Conv
from trainables.optimizers import ASAM, GNP, GSAM, SAM, SGD, WSAM
from trainables.probes import MEASURES
from trainables.problems import LabelPermuted, Pairwise, Permuted, Rotating
from trainables.record import Record
from trainables.run import ContinualRun
from trainables.setting import RunOptions, Setting, common_setting
from trainables.usage import UsageError

SEEDS = [4, 2, 9]


def settings_of(optimizers, **fields) -> list[Setting]:
    shared = {"dataset": "mnist-5k", "tasks": 3, "hidden": (8, 7), "batch_size": 4}
    return [Setting(**{**shared, **fields}, optimizer=o) for o in optimizers]


TWO_PASSES = (
    SAM(lr=0.05, rho=0.1),
    SAM(lr=0.1, rho=0.02),
    GNP(lr=0.05, rho=0.1, alpha=0.6),
    GNP(lr=0.02, rho=0.3, alpha=2.0),
    WSAM(lr=0.05, rho=0.05, wsam_form="coupled"),
)
ONE_PASS = SGD(lr=0.05), SGD(lr=0.2), SAM(lr=0.01, rho=0.0), GNP(lr=0.02, alpha=0.0)


def with_(optimizers, **changes):
    return [attrs.evolve(optimizer, **changes) for optimizer in optimizers]


CASES = {
    "two passes": settings_of(TWO_PASSES),
    "one pass": settings_of(ONE_PASS),
    "pairs": settings_of(TWO_PASSES, problem=Pairwise()),
    "labels": settings_of(ONE_PASS, problem=LabelPermuted(), examples=20, epochs=2),
    "images that turn": settings_of(TWO_PASSES, problem=Rotating()),
    "momentum": settings_of(with_(TWO_PASSES, momentum=0.5, weight_decay=0.1)),
    "decay": settings_of(with_(ONE_PASS, weight_decay=0.1)),
    "adam": settings_of(with_(TWO_PASSES, weight_decay=0.1), base=Adam()),
    "penalty": settings_of(ONE_PASS, intervention=L2Init(init_decay=0.5)),
    "memory": settings_of(
        TWO_PASSES,
        intervention=SpectralRegularization(spectral_strength=0.1, spectral_power=1),
    ),
    "reset": settings_of(with_(ONE_PASS, momentum=0.5), intervention=Fresh()),
}


def in_order(rows: list[Record]) -> list[Record]:
    return sorted(rows, key=lambda row: (row["setting_id"], row["seed"], row["task"]))


def joint_rows(joint: JointRun) -> list[Record]:
    rows = []
    while not joint.finished:
        rows += joint.next_task()
    return in_order(rows)


def single_rows(settings, few, **options) -> list[Record]:
    rows = []
    for setting in settings:
        run = ContinualRun(setting, SEEDS, few, dtype=torch.float64, **options)
        while not run.finished:
            rows += run.next_task()
    return in_order(rows)


def assert_close(rows: list[Record], expected: list[Record]) -> None:
    assert len(rows) == len(expected)
    for own, other in zip(rows, expected, strict=True):
        for name in other.keys() - {"engine", "seconds"}:
            value = other[name]
            if name in MEASURES and value is not None:
                assert own[name] == pytest.approx(value, rel=1e-7, abs=1e-9), name
            else:
                assert own[name] == value, name


@pytest.mark.parametrize("name", CASES)
def test_joint_records_equal_the_records_of_single_runs(name, few):
    """The single runs use another engine, which does not know such stacks."""
    options = {"options": RunOptions(landscape_every=0, look_back=1)}
    joint = JointRun(CASES[name], SEEDS, few, dtype=torch.float64, **options)
    rows = joint_rows(joint)
    assert_close(rows, single_rows(CASES[name], few, engine="reference", **options))
    assert len({row["train_loss"] for row in rows}) == len(rows)  # settings differ


def test_the_landscape_equals_that_of_single_runs(few):
    options = {"options": RunOptions(landscape_every=2)}
    settings = CASES["two passes"][::2]
    rows = joint_rows(JointRun(settings, SEEDS, few, dtype=torch.float64, **options))
    assert rows[0]["sharpness"] is not None
    assert_close(rows, single_rows(settings, few, **options))


@pytest.mark.parametrize("hot_place", [0, 2])
@pytest.mark.parametrize("name", ["two passes", "pairs"])
def test_a_network_that_diverges_touches_no_other(name, hot_place, few):
    options = {"options": RunOptions(landscape_every=0)}
    hot = attrs.evolve(CASES[name][1], optimizer=SAM(lr=1e200, rho=0.1))
    settings = CASES[name][:2]
    every = [*settings[:hot_place], hot, *settings[hot_place:]]
    joint = JointRun(every, SEEDS, few, dtype=torch.float64, **options)
    rows = joint.next_task()
    (sick,) = (run for run in joint.runs if run.setting == settings[0])
    sick.network.weights[1][sick.alive.index(2), 0, 0] = torch.nan
    while not joint.finished:
        rows += joint.next_task()
    flat = in_order(rows)
    sick = [row for row in flat if row["setting_id"] == hot.setting_id]
    assert [row["diverged"] for row in sick] == [True] * 9
    assert sorted(len(run.alive) for run in joint.runs) == [0, 2, 3]
    well = [
        row
        for row in flat
        if row["setting_id"] == settings[1].setting_id
        or (row["setting_id"] == settings[0].setting_id and row["seed"] != 2)
    ]
    alone = [
        row
        for row in single_rows(settings[:2], few, **options)
        if row["setting_id"] != settings[0].setting_id or row["seed"] != 2
    ]
    assert_close(well, alone)


def test_images_turn_even_if_the_first_setting_has_diverged(few):
    options = {"options": RunOptions(landscape_every=0, look_back=1)}
    cases = CASES["images that turn"][:2]
    hot = attrs.evolve(cases[0], optimizer=SAM(lr=1e200, rho=0.1))
    joint = JointRun([hot, *cases], SEEDS, few, dtype=torch.float64, **options)
    rows = joint_rows(joint)
    assert not joint.runs[0].alive
    well = [row for row in rows if row["setting_id"] != hot.setting_id]
    assert_close(well, single_rows(cases, few, engine="reference", **options))
    assert len({id(run.trainer.reader) for run in joint.runs}) == 1


def test_all_networks_may_diverge(few):
    settings = settings_of([SGD(lr=1e30), SGD(lr=1e31)])
    rows = joint_rows(JointRun(settings, SEEDS, few))
    assert all(row["diverged"] for row in rows)
    assert len(rows) == 18


def test_a_stream_ends(few):
    joint = JointRun(settings_of(ONE_PASS, tasks=1), SEEDS, few)
    joint.next_task()
    with pytest.raises(StopIteration, match="all 1 tasks are finished"):
        joint.next_task()


OTHER = [
    Setting(optimizer=ASAM()),
    Setting(optimizer=GSAM()),
    Setting(optimizer=SAM(rho_warmup=10)),
    Setting(optimizer=WSAM()),
    Setting(network=Conv()),
    Setting(activation="tanh"),
    Setting(intervention=LayerNorm()),
    Setting(intervention=ReDo()),
]


@pytest.mark.parametrize("setting", OTHER, ids=lambda s: str(s.setting_id))
def test_other_settings_train_alone(setting):
    assert common_setting(setting) is None


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": SAM()},
        {"optimizer": SGD(momentum=0.5)},
        {"optimizer": SGD(weight_decay=0.5)},
        {"batch_size": 5},
        {"problem": Pairwise()},
        {"base": Adam()},
        {"hidden": (8,)},
    ],
    ids=str,
)
def test_settings_that_differ_in_something_else_are_refused(change, few):
    (setting,) = settings_of([SGD()])
    with pytest.raises(UsageError, match="give each setting its own run"):
        JointRun([setting, attrs.evolve(setting, **change)], [0], few)


def test_interventions_that_act_between_updates_train_alone():
    for kind in INTERVENTIONS.values():
        setting = Setting(intervention=kind(), problem=Permuted())
        together = common_setting(setting) is not None
        assert together == (not kind().steps and not kind().normalizes)
