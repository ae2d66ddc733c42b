"""Studies as data, and studies from people's own files."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from pathlib import Path

import attrs
import numpy as np
import pytest

from study.spec.studies import (
    MAP_LEARNING_RATES,
    RHOS,
    STUDIES,
    Study,
    grid,
)
from study.spec.study_file import find_study
from trainables.interventions import INTERVENTIONS
from trainables.optimizers import OPTIMIZERS, SGD
from trainables.problems import Pairwise, Permuted
from trainables.setting import Setting
from trainables.usage import UsageError

GOLDEN = Path(__file__).parents[2] / "golden" / "setting_ids.json"

ONE = (Setting(dataset="mnist-5k"),)


def test_the_settings_of_the_studies_do_not_change_by_themselves():
    """Or a study would be run again. Changes on purpose go to the file of digests."""
    digests = {
        name: [len(s.rows()), hashlib.sha256(" ".join(s.rows()).encode()).hexdigest()]
        for name, s in STUDIES.items()
    }
    assert digests == json.loads(GOLDEN.read_text())


def test_the_papers_comparison_is_two_problems_by_six_settings():
    study = STUDIES["paper"]
    kinds = {(s.problem.name, s.optimizer.name, s.optimizer.lr) for s in study.settings}
    assert len(kinds) == len(study.settings) == 12
    assert study.seeds == tuple(range(10))
    assert {s.dataset for s in study.settings} == {"mnist"}
    assert {s.tasks for s in study.settings if s.problem == Pairwise()} == {45}


@pytest.mark.parametrize("name", ["quickstart", "rho-small"])
def test_nothing_is_downloaded_for_the_small_ones(name):
    assert {s.dataset for s in STUDIES[name].settings} == {"mnist-5k"}


def test_rho_is_every_rho_at_every_step_size_with_sgd_beside_it():
    exact = np.geomspace(0.001, 2, 9)
    assert [float(f"{rho:.2g}") for rho in exact] == list(RHOS)
    study = STUDIES["rho"]
    assert {s.batch_size for s in study.settings} == {1, 16, 64}
    for problem in (Permuted(), Pairwise()):
        rows = [
            s.row()
            for s in study.settings
            if s.problem == problem and s.batch_size == 16
        ]
        assert {row["dataset"] for row in rows} == {"mnist"}
        kinds = {
            kind: {
                (r["lr"], r["rho"], r["alpha"]) for r in rows if r["optimizer"] == kind
            }
            for kind in ("sgd", "sam", "gnp")
        }
        pairs = set(itertools.product(MAP_LEARNING_RATES, RHOS))
        assert kinds["sgd"] == {(lr, None, None) for lr in MAP_LEARNING_RATES}
        assert kinds["sam"] == {(*pair, None) for pair in pairs}
        assert kinds["gnp"] == {(*p, alpha) for p in pairs for alpha in (0.5, 0.8, 2)}


def test_the_small_cut_of_rho_is_a_cut_of_it():
    def kinds(name):
        return {(s.problem, s.optimizer) for s in STUDIES[name].settings}

    assert kinds("rho-small") < kinds("rho")
    assert len(STUDIES["rho-small"].seeds) >= 5
    rhos = {s.optimizer.rho for s in STUDIES["rho-small"].settings}
    assert {0.0, RHOS[0], RHOS[-1]} < rhos


def test_rho_on_a_laptop_has_whole_streams_and_curves_of_rho():
    study = STUDIES["rho-laptop"]
    lengths = {(s.problem.name, s.tasks) for s in study.settings}
    assert lengths == {("permuted", 100), ("pairwise", 45)}
    curves: dict[tuple[object, ...], set[float]] = {}
    for s in study.settings:
        key = s.problem, s.batch_size, s.optimizer.name, s.optimizer.lr
        curves.setdefault(key, set()).add(s.optimizer.rho)
    for (problem, batch, name, lr), rhos in curves.items():
        assert len(rhos) == (1 if name == "sgd" else 6)
        assert (problem, batch, "sgd", lr) in curves  # the baseline of the curve
    sizes = {(batch, lr) for _, batch, _, lr in curves}
    assert len(sizes) == 9
    assert len({batch for batch, _ in sizes}) == 3
    assert {s.epochs for s in study.settings if s.batch_size == 1} == {1}


def test_the_remedies_are_every_intervention_under_three_optimizers():
    study = STUDIES["remedies"]
    for optimizer, base in (("sgd", None), ("sam", None), ("sgd", "adam")):
        mine = [
            s
            for s in study.settings
            if (s.optimizer.name, s.base and s.base.name) == (optimizer, base)
        ]
        names = [s.intervention and s.intervention.name for s in mine]
        assert names == [None, None, *INTERVENTIONS]
        assert [s.optimizer.weight_decay > 0 for s in mine][:3] == [False, True, False]
    rest = {(s.optimizer.name, s.base is None) for s in study.settings[-2:]}
    assert rest == {("sam", False), ("asam", True)}
    assert {s.dataset for s in study.settings} == {"mnist-5k"}


def test_the_family_is_every_optimizer_with_its_authors_values():
    study = STUDIES["family"]
    by_name = {
        name: [s.optimizer for s in study.settings if s.optimizer.name == name]
        for name in OPTIMIZERS
    }
    assert sum(map(len, by_name.values())) == len(study.settings)
    assert {s.tasks for s in study.settings} == {100}
    for name, kind in OPTIMIZERS.items():
        own = kind()
        assert {o.rho for o in by_name[name]} == {own.rho, own.rho / 5}
        steps = {round(o.lr / (1 - o.momentum), 6) for o in by_name[name]}
        assert steps == {0.03, 0.01}
        evolved = {attrs.evolve(o, lr=1, rho=1) for o in by_name[name] if o.rho}
        assert evolved <= {attrs.evolve(own, lr=1, rho=1)} if own.rho else not evolved


def test_dohare_2024_is_the_authors_stream_for_three_optimizers():
    study = STUDIES["dohare-2024"]
    assert study.seeds == tuple(range(10))
    shared = {
        "problem": "permuted",
        "dataset": "mnist",
        "tasks": 101,
        "epochs": 1,
        "batch_size": 1,
        "hidden": "100-100-100",
        "lr": 0.003,
        "momentum": 0.0,
        "weight_decay": 0.0,
    }
    rows = study.rows().values()
    assert [row["optimizer"] for row in rows] == ["sgd", "sam", "gnp"]
    assert all(shared.items() <= row.items() for row in rows)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../a", "-a", ".a", "a.b", "_a"])
def test_a_name_that_is_no_folders_is_refused(name):
    with pytest.raises(UsageError, match=re.escape(repr(name))):
        Study(name, ONE, (0,))


@pytest.mark.parametrize(
    ("settings", "seeds", "message"),
    [
        ((), (0,), "no settings"),
        (ONE, (), "no seeds"),
        (ONE * 2, (0,), "repeats one of its settings"),
        (ONE, (3, 3), "repeats one of its seeds"),
        (ONE, (-1,), "seed is -1"),
        (ONE, (2**32,), f"seed is {2**32}"),
        (ONE, (0.5,), "seed is 0.5"),
        (ONE, (True,), "seed is True"),
    ],
)
def test_a_study_without_sense_is_refused(settings, seeds, message):
    with pytest.raises(UsageError, match=message):
        Study("mine", settings, seeds)


def test_fields_that_are_none_stay_as_they_are():
    study = Study("mine", grid((Permuted(),), (SGD(),), tasks=7, hidden=(3,)), (5,))
    assert study.modify(seeds=None, tasks=None, hidden=None) == study
    other = study.modify(seeds=2, tasks=3)
    assert other.seeds == (0, 1)
    assert [s.tasks for s in other.settings] == [3]
    assert [s.hidden for s in other.settings] == [(3,)]


def test_a_change_that_makes_two_settings_the_same_is_refused():
    study = Study("mine", (Setting(tasks=1), Setting(tasks=2)), (0,))
    with pytest.raises(UsageError, match="repeats one of its settings"):
        study.modify(tasks=3)


def write(folder, text):
    path = folder / "mine.py"
    path.write_text(text)
    return str(path)


IMPORTS = (
    "from study.spec.studies import Study, grid\nfrom trainables.problems import *\n"
)


def test_a_file_may_define_a_study(tmp_path):
    body = "STUDY = Study('mine', grid((Permuted(),), (SGD(),)), range(2))\n"
    path = write(tmp_path, IMPORTS + "from trainables.optimizers import SGD\n" + body)
    study = find_study(path)
    assert (study.name, study.seeds, len(study.settings)) == ("mine", (0, 1), 1)


SPACES = (
    "from study.spec.domain import choice, integer, log, uniform\n"
    "from study.spec.search import Search\n"
    "from study.spec.space import Space\n"
    "from study.spec.studies import Study\n"
)


def test_a_file_may_define_a_random_study_or_a_search(tmp_path):
    space = (
        "Space(dataset='mnist-5k', hidden=choice('50', '100-100'), lr=log(0.001, 1))"
    )
    body = f"STUDY = Study('mine', {space}.random(7), range(2))\n"
    study = find_study(write(tmp_path, SPACES + body))
    assert len(study.settings) == 7
    assert {s.hidden for s in study.settings} == {(50,), (100, 100)}
    assert find_study(write(tmp_path, SPACES + body)) == study
    body = f"STUDY = Search('mine', {space}, range(2), trials=9)\n"
    search = find_study(write(tmp_path, SPACES + body))
    assert (search.trials, search.datasets) == (9, ("mnist-5k",))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("Space(lrr=0.1)", "unknown field 'lrr': did you mean 'lr'?"),
        ("Space(lr=log(0, 1))", "low of lr is 0: it must be a number above 0"),
        ("Space(hidden=choice('0'))", "hidden is '0': give widths joined by '-'"),
        ("Space(lr=0.1), objectives=('accuracy',)", "unknown objective 'accuracy'"),
        ("Space(lr=0.1), objectivs=('a',)", "did you mean 'objectives'"),
    ],
)
def test_a_wrong_space_in_a_file_is_one_line_with_its_place(tmp_path, space, message):
    path = write(
        tmp_path, f"{SPACES}STUDY = Search('mine', space={space}, seeds=(0,))\n"
    )
    with pytest.raises(UsageError) as caught:
        find_study(path)
    assert str(caught.value).startswith(f"{path}:5: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("x = (\n", 1, "SyntaxError: '(' was never closed"),
        ("\n1 / 0\n", 2, "ZeroDivisionError: division by zero"),
        ("raise ValueError('two\\nlines')\n", 1, "ValueError: two"),
        ("raise ValueError\n", 1, "ValueError"),
        ("raise SystemExit(3)\n", 1, "SystemExit: 3"),
        ("import no_such_module\n", 1, "ModuleNotFoundError: No module named"),
        ("import json\n\njson.loads('{')\n", 3, "JSONDecodeError: Expecting"),
        (IMPORTS + "\nStudy('a b', (), ())\n", 4, "the study's name is 'a b'"),
        (IMPORTS + "grid([Permuted()], [], taks=1)\n", None, "must define STUDY"),
    ],
)
def test_a_file_that_fails_is_one_line_with_file_and_line(
    tmp_path, text, line, message
):
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        find_study(path)
    said = str(caught.value)
    assert said.startswith(f"{path}:{line}: " if line else path)
    assert message in said
    assert said.count("mine.py") == 1
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("from trainables.optimizers import SAM\nSAM(roh=0.1)\n", "'rho'"),
        (
            "from trainables.setting import Setting\nSetting(batchsize=1)\n",
            "'batch_size'",
        ),
        ("from study.spec.studies import Study\nStudy(nmae='a')\n", "'name'"),
        (
            "from trainables.setting import Setting\n"
            "Setting.from_row({'optimizer': 'gnp', 'aplha': 1})\n",
            "'alpha'",
        ),
    ],
)
def test_an_unknown_hyperparameter_in_a_file_offers_the_nearest(tmp_path, text, near):
    path = write(tmp_path, text)
    with pytest.raises(UsageError, match=f"did you mean {near}") as caught:
        find_study(path)
    assert str(caught.value).startswith(f"{path}:2: ")


@pytest.mark.parametrize("module", ["studies", "search", "space", "domain"])
def test_an_old_import_in_a_file_is_told_the_new_one(tmp_path, module):
    path = write(tmp_path, f"x = 1\nfrom study.{module} import x\n")
    with pytest.raises(UsageError) as caught:
        find_study(path)
    assert str(caught.value) == (
        f"{path}:2: study.{module} has moved: import from study.spec.{module}"
    )


def test_an_old_keyword_in_a_file_is_told_the_new_one(tmp_path):
    body = "STUDY = Study('mine', grid([], []), (0,), probe_every=5)\n"
    path = write(tmp_path, IMPORTS + body)
    with pytest.raises(UsageError) as caught:
        find_study(path)
    assert str(caught.value) == (
        f"{path}:3: Study: probe_every is now called landscape_every"
    )


def test_a_file_without_a_study_is_refused(tmp_path):
    for text in ("x = 1\n", "STUDY = 'quickstart'\n"):
        with pytest.raises(UsageError, match="must define STUDY"):
            find_study(write(tmp_path, text))


def test_a_study_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        find_study(str(tmp_path / "none.py"))
    with pytest.raises(UsageError, match="did you mean 'quickstart'"):
        find_study("quikstart")


def test_how_often_a_study_measures_the_landscape_is_checked():
    setting = STUDIES["quickstart"].settings[:1]
    assert Study("any", setting, (0,), landscape_every=0).landscape_every == 0
    with pytest.raises(UsageError, match="landscape_every is -1"):
        Study("any", setting, (0,), landscape_every=-1)
