"""Settings: there and back as a row, what is refused, and what identifies them."""

from __future__ import annotations

import json
import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.bases import Adam
from trainables.data import DATASETS
from trainables.hyperparameter import hyperparameters
from trainables.interventions import ContinualBackprop, LayerNorm
from trainables.networks import MLP, ResNet18
from trainables.optimizers import ASAM, GNP, OPTIMIZERS, SAM, SGD
from trainables.problems import Pairwise
from trainables.record import SETTING_COLUMNS
from trainables.setting import REGISTRIES, RETIRED_COLUMNS, Setting, parse_hidden
from trainables.usage import UsageError

COMMON = {
    "problem": st.sampled_from(["permuted", "pairwise"]),
    "dataset": st.sampled_from(sorted({*DATASETS} - {"none"})),
    "tasks": st.none() | st.integers(1, 45),
    "epochs": st.integers(1, 1000),
    "batch_size": st.integers(1, 60_000),
    "hidden": st.lists(st.integers(1, 2000), min_size=1, max_size=5).map(
        lambda widths: "-".join(map(str, widths))
    ),
    "lr": st.floats(0, 1e3, exclude_min=True) | st.integers(1, 10),
    "momentum": st.floats(0, 1, exclude_max=True) | st.just(0),
    "weight_decay": st.floats(0, 10) | st.just(0),
}
OF_OTHER_PARTS = {*RETIRED_COLUMNS} | {
    name
    for kind in ("intervention", "base", "network", "learner")
    for name in [
        kind,
        *(n for p in REGISTRIES[kind].values() for n in hyperparameters(p)),
    ]
}
OF_OTHER_PARTS |= {
    name for part in OPTIMIZERS.values() for name in hyperparameters(part)
} - {"lr", "momentum", "weight_decay", "rho", "alpha"}
"""Columns of interventions, bases, networks, schedules and most optimizers."""

RHO, ALPHA = st.floats(0, 10), st.floats(0, 1) | st.integers(0, 1)
ROWS = st.one_of(
    st.fixed_dictionaries({}, optional=COMMON | {"optimizer": st.just("sgd")}),
    st.fixed_dictionaries(
        {"optimizer": st.just("sam")}, optional=COMMON | {"rho": RHO}
    ),
    st.fixed_dictionaries(
        {"optimizer": st.just("gnp")}, optional=COMMON | {"rho": RHO, "alpha": ALPHA}
    ),
    st.fixed_dictionaries(
        {"base": st.just("adam"), "intervention": st.just("redo")},
        optional={n: COMMON[n] for n in ("problem", "lr", "weight_decay")}
        | {"beta1": st.floats(0, 1, exclude_max=True), "redo_tau": RHO}
        | {"redo_every": st.integers(1, 10**6)},
    ),
)


# ---- there and back


@given(ROWS)
def test_a_setting_comes_back_from_its_row(given_row):
    setting = Setting.from_row(given_row)
    row = setting.row()
    assert list(row) == list(SETTING_COLUMNS)
    assert {name: row[name] for name, v in given_row.items() if v is not None} == {
        name: v for name, v in given_row.items() if v is not None
    }
    assert Setting.from_row(row) == setting
    assert Setting.from_row(row).row() == row


@given(ROWS)
def test_a_setting_comes_back_from_json(given_row):
    setting = Setting.from_row(given_row)
    back = Setting.from_row(json.loads(json.dumps(setting.row())))
    assert back == setting
    assert back.setting_id == setting.setting_id


def test_defaults_are_filled_in():
    assert Setting.from_row({}) == Setting()
    assert Setting().tasks == 100
    assert Setting(problem=Pairwise()).tasks == 45
    assert Setting.from_row({"problem": "pairwise", "tasks": None}).tasks == 45
    row = Setting.from_row({"optimizer": "gnp", "lr": 0.1}).row()
    assert (row["rho"], row["alpha"], row["intervention"]) == (0.05, 0.8, None)
    assert all(type(row[name]) is float for name in ("lr", "momentum", "weight_decay"))


# ---- what is refused


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"optimizer": "sam", "roh": 0.1},
            "unknown hyperparameter 'roh': did you mean",
        ),
        ({"learning_rate": 0.1}, "unknown hyperparameter 'learning_rate'"),
        ({"seed": 0}, "unknown hyperparameter 'seed'"),
        ({"batch-size": 8}, "did you mean 'batch_size'?"),
        ({"optimizer": "adam"}, "unknown optimizer 'adam'"),  # a base
        ({"optimizer": "smm"}, "did you mean 'sam'?"),
        ({"optimizer": ""}, "unknown optimizer ''"),
        ({"problem": "permutted"}, "did you mean 'permuted'?"),
        ({"problem": ""}, "unknown problem ''"),
        ({"dataset": "mnst"}, "unknown dataset 'mnst': did you mean 'mnist'?"),
        (
            {"optimizer": "sgd", "rho": 0.1},
            "setting has rho, but neither its problem permuted nor its optimizer sgd",
        ),
        (
            {"rho": 0.1},
            "nor its optimizer sgd has a hyperparameter rho: leave out rho",
        ),
        ({"optimizer": "sam", "alpha": 0.5}, "the setting has alpha, but neither"),
        ({"intervention": "l2_int"}, "did you mean 'l2_init'?"),
        ({"intervention": ""}, "unknown intervention ''"),
        ({"redo_tau": 0.1}, "the setting has redo_tau, but neither its problem"),
        (
            {"intervention": "fresh", "redo_tau": 0.1},
            "nor its intervention fresh has a hyperparameter redo_tau: leave out redo",
        ),
        ({"beta1": 0.9}, "the setting has beta1, but neither"),
        ({"base": "adm"}, "unknown base 'adm': did you mean 'adam'?"),
        (
            {"base": "adam", "momentum": 0.9},
            "momentum is 0.9, but base adam .*: leave out momentum",
        ),
        ({"base": "adam", "beta1": 1}, "beta1 is 1: .* at least 0 and below 1"),
        ({"base": "adam", "beta2": -0.1}, "beta2 is -0.1"),
        ({"base": "adam", "adam_eps": 0}, "adam_eps is 0: .* above 0"),
        ({"optimizer": "asam", "eta": 0}, "eta is 0: it must be a number above 0"),
        ({"optimizer": "sam", "eta": 0.1}, "the setting has eta, but neither"),
        ({"intervention": "l2_init", "init_decay": -1}, "init_decay is -1"),
        ({"intervention": "spectral_norm", "spectral_bound": 0}, "spectral_bound is 0"),
        ({"intervention": "warm_start", "shrink": 1.1}, "shrink is 1.1"),
        ({"intervention": "warm_start", "fresh_share": -1}, "fresh_share is -1"),
        (
            {"intervention": "step_shrink_perturb", "step_noise": "initail"},
            "did you mean 'initial'?",
        ),
        ({"intervention": "shrink_perturb"}, "did you mean 'step_shrink_perturb'?"),
        (
            {"intervention": "continual_backprop", "utility": "adaptible"},
            "did you mean 'adaptable'?",
        ),
        ({"perturb": 0.01}, "the setting has perturb, but neither"),
        ({"intervention": "continual_backprop", "maturity": 0.5}, "maturity is 0.5"),
        (
            {"intervention": "continual_backprop", "replacement_rate": 2},
            "replacement_rate is 2: .* at most 1",
        ),
        (
            {"intervention": "continual_backprop", "utility_decay": 1},
            "utility_decay is 1: .* below 1",
        ),
        ({"intervention": "redo", "redo_tau": -1}, "redo_tau is -1"),
        ({"intervention": "redo", "redo_every": 0}, "redo_every is 0"),
        ({"lr": 0}, "lr is 0: it must be a number above 0"),
        ({"lr": -0.1}, "lr is -0.1: it must be a number above 0"),
        ({"lr": math.nan}, "lr is nan"),
        ({"lr": math.inf}, "lr is inf"),
        ({"lr": "0.1"}, "lr is '0.1'"),
        ({"lr": True}, "lr is True"),
        ({"momentum": 1}, "momentum is 1: it must be a number at least 0 and below 1"),
        ({"momentum": -0.1}, "momentum is -0.1"),
        ({"weight_decay": -1}, "weight_decay is -1"),
        ({"optimizer": "sam", "rho": -1}, "rho is -1: it must be a number at least 0"),
        ({"optimizer": "gnp", "rho": math.inf}, "rho is inf"),
        ({"optimizer": "wsam", "wsam_gamma": 1}, "wsam_gamma is 1: .* and below 1"),
        ({"optimizer": "sam", "rho_follows": "lr"}, "but rho is constant: give rho_w"),
        ({"optimizer": "sam", "rho_decay": "liner"}, "did you mean 'linear'"),
        ({"optimizer": "gnp", "alpha": -0.5}, "alpha is -0.5"),
        ({"tasks": 0}, "tasks is 0: it must be a whole number, at least 1"),
        ({"tasks": -1}, "tasks is -1"),
        ({"tasks": 2.0}, "tasks is 2.0"),
        ({"problem": "pairwise", "tasks": 46}, "tasks is 46: pairwise has only 45"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": "abc"}, "batch_size is 'abc'"),
        ({"batch_size": 1.5}, "batch_size is 1.5"),
        ({"batch_size": True}, "batch_size is True"),
        ({"examples": 0}, "examples is 0"),
        ({"examples": 60_001}, "mnist has only 60000 .*, so use at most 60000"),
        (
            {"activation": "crelu", "intervention": "redo"},
            "redo needs units with one output, but .* crelu have 2 outputs: leave out",
        ),
        ({"activation": "relu"}, "did you mean 'crelu'?"),
        ({"initialization": "torch"}, "did you mean 'pytorch'?"),
        ({"input_low": 0.0}, "input_low is 0.0: it must be a number at least -1 and"),
        (
            {"input_low": -1.0, "normalization": "dataset"},
            "input_low is -1, but --normalization dataset .*: leave out input_low or",
        ),
        ({"pixel_share": 0.5}, "the setting has pixel_share, but neither"),
        ({"problem": "gradual", "pixel_share": 0.0}, "pixel_share is 0.0"),
        ({"hidden": "100-"}, "hidden is '100-': give widths joined by '-'"),
        ({"hidden": "0"}, "hidden is '0'"),
        ({"hidden": "-5"}, "hidden is '-5'"),
        ({"hidden": ""}, "hidden is empty: give"),
        ({"hidden": "10.5"}, "hidden is '10.5'"),
        ({"hidden": "10x20"}, "hidden is '10x20'"),
    ],
)
def test_a_wrong_row_is_refused_in_one_line(row, words):
    with pytest.raises(UsageError, match=words) as refusal:
        Setting.from_row(row)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"tasks": 0}, "tasks is 0"),
        ({"hidden": ()}, "hidden is empty"),
        ({"hidden": (10, 0)}, "hidden is 0"),
        ({"hidden": (10, 1.5)}, "hidden is 1.5"),
        ({"dataset": "cifar"}, "unknown dataset 'cifar'"),
        ({"problem": Pairwise(), "tasks": 46}, "has only 45 tasks, so use at most 45"),
    ],
)
def test_a_wrong_setting_is_refused(values, words):
    with pytest.raises(UsageError, match=words):
        Setting(**values)


def test_the_largest_setting_allowed():
    assert Setting(problem=Pairwise(), tasks=45).tasks == 45
    assert Setting(tasks=100_000).tasks == 100_000
    assert GNP(alpha=1, rho=0, momentum=0.999).passes == 1


def test_a_setting_does_not_change():
    with pytest.raises(AttributeError):
        Setting().epochs = 2
    with pytest.raises(AttributeError):
        SGD().lr = 2


def test_widths_are_read_from_text():
    assert parse_hidden("100-100-100") == (100, 100, 100)
    assert parse_hidden("7") == parse_hidden(7) == (7,)
    assert Setting(hidden="20-10") == Setting(hidden=(20, 10))


# ---- who is who


@given(ROWS, st.randoms(use_true_random=False))
def test_identifiers_do_not_depend_on_the_order_of_keys(given_row, random):
    setting = Setting.from_row(given_row)
    items = list(setting.row().items())
    random.shuffle(items)
    back = Setting.from_row(dict(items))
    assert back.setting_id == setting.setting_id
    assert back.run_id(3) == setting.run_id(3)


CARTPOLE = [
    {},
    {"level_iterations": 7},
    {"iteration_steps": 7},
    {"observation_offset": 7.0},
    {"goal_range": 1.0},
    {"odd_reward": -1.0},
]
WALK = [{}, {"td_steps": 7}, {"discount": 0.5}]


def test_every_field_is_in_the_identifier():
    base = {"optimizer": "gnp", "dataset": "mnist", "tasks": 20}
    changes = [
        {},
        {"optimizer": "sgd"},
        {"optimizer": "sam"},
        {"problem": "pairwise"},
        {"dataset": "kmnist"},
        {"tasks": 21},
        {"epochs": 2},
        {"batch_size": 17},
        {"hidden": "100-100"},
        {"hidden": "100-100-101"},
        {"lr": 0.02},
        {"momentum": 0.5},
        {"weight_decay": 0.5},
        {"rho": 0.5},
        {"alpha": 0.5},
        {"problem": "gradual"},
        {"problem": "gradual", "pixel_share": 0.2},
        {"problem": "rotating"},
        {"problem": "rotating", "degrees": 7.0},
        {"problem": "growing", "tasks": 2},
        {"problem": "growing", "tasks": 2, "new_classes": 3},
        {"problem": "accumulating"},
        {"problem": "accumulating", "chunks": 7},
        {"examples": 1000},
        {"initialization": "pytorch"},
        {"input_low": -1.0},
        {"normalization": "dataset"},
        {"activation": "tanh"},
        *({"dataset": "none", "problem": "cartpole", **own} for own in CARTPOLE),
        *({"dataset": "none", "problem": "td", **own} for own in WALK),
    ]
    settings = [Setting.from_row(base | change) for change in changes]
    touched = {key for change in changes for key in change}
    assert touched == set(SETTING_COLUMNS) - OF_OTHER_PARTS
    names = {s.setting_id for s in settings}
    names |= {s.run_id(seed) for s in settings for seed in (0, 1)}
    assert len(names) == 3 * len(changes)


OTHER_TEXTS = {
    **{"initial": "normal", "adaptable": "printed", "weights": "all"},
    **{"decoupled": "coupled", "32-64-128": "8-16"},
}
"""For each default that is text, another value."""

WITHOUT_DEFAULT = {
    "rho_warmup": {"rho_warmup": 7},
    "rho_decay": {"rho_decay": "linear"},
    "rho_follows": {"rho_follows": "lr", "rho_warmup": 8},
}
"""For each hyperparameter without a default, values of a row that has it."""


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in ("base", "intervention") for name in REGISTRIES[kind]]
    + [("optimizer", name) for name in OPTIMIZERS if name != "sgd"]
    + [("network", "conv")],
)
def test_every_hyperparameter_of_a_part_is_in_the_identifier(kind, name):
    plain = Setting.from_row({kind: name})
    settings = [Setting(), plain]
    fields = attrs.fields(REGISTRIES[kind][name])
    for field in fields:
        value = getattr(getattr(plain, kind), field.name)
        values = WITHOUT_DEFAULT.get(field.name) or {
            field.name: OTHER_TEXTS.get(value)
            or (value + 1 if isinstance(value, int) else value / 2 + 1e-3)
        }
        settings.append(Setting.from_row({kind: name, **values}))
        assert settings[-1].row()[field.name] == values[field.name]
    names = {s.setting_id for s in settings} | {s.run_id(3) for s in settings}
    assert len(names) == 2 * (2 + len(fields))
    assert Setting.from_row(plain.row()) == plain


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"lr": 1}, {"lr": 1.0}),
        ({"momentum": 0}, {"momentum": 0.0}),
        ({"weight_decay": -0.0}, {"weight_decay": 0.0}),
        ({"optimizer": "sam", "rho": -0.0}, {"optimizer": "sam", "rho": 0}),
        ({"hidden": "0100-10"}, {"hidden": "100-10"}),
        ({}, {"lr": 0.01, "rho": None, "tasks": 100}),
    ],
)
def test_what_means_the_same_has_one_identifier(one, other):
    ids = [Setting.from_row(row).setting_id for row in (one, other)]
    assert ids[0] == ids[1]


def test_the_mlp_is_the_network_of_a_setting_that_names_none():
    mlp = Setting.from_row({"network": "mlp"})
    assert mlp == Setting(network=MLP()) == Setting()
    assert mlp.row()["network"] is None
    assert mlp.setting_id == Setting().setting_id


def test_a_new_network_that_is_an_mlp_is_not_the_mlp():
    new = attrs.frozen(type("New", (MLP,), {"name": "new"}))()
    assert Setting(network=new).row()["network"] == "new"


def test_an_intervention_that_normalizes_needs_plain_layers():
    new = attrs.frozen(type("New", (LayerNorm,), {"name": "new"}))()
    with pytest.raises(UsageError, match="intervention new changes layers that have"):
        Setting(network=ResNet18(), intervention=new)


def test_a_column_to_come_changes_no_identifier(monkeypatch: pytest.MonkeyPatch):
    before = Setting().setting_id
    monkeypatch.setitem(SETTING_COLUMNS, "temperature", SETTING_COLUMNS["rho"])
    assert Setting().row()["temperature"] is None
    assert Setting().setting_id == before


GOLDEN_IDS = {
    "fe5c8dc5d0d56fdf 82aff2545fc7293f": Setting(),
    "17a91c76659ff57f 245da361f3aa47a7": Setting(
        problem=Pairwise(), optimizer=SAM(lr=0.1, rho=0.05)
    ),
    "551d31c0cf2212a4 f5b9c8d99d211ab1": Setting(
        optimizer=GNP(momentum=0.9), hidden=(20, 10), dataset="mnist-5k"
    ),
    "d4854d4c5da356b8 40c803581bfcc9e6": Setting(optimizer=ASAM(), base=Adam()),
    "cdd9c5c7c43cd237 6b84b0d6152daa68": Setting(
        intervention=ContinualBackprop(maturity=7)
    ),
}


@pytest.mark.parametrize("expected", GOLDEN_IDS)
def test_identifiers_do_not_change_by_themselves(expected):
    """Or what is done would be run again, and records would lose each other."""
    setting = GOLDEN_IDS[expected]
    assert f"{setting.setting_id} {setting.run_id(7)}" == expected
