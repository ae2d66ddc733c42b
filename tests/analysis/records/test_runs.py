import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.records.runs import (
    NEEDED,
    by_problem,
    by_setting,
    implied_values,
    labels,
    varying_columns,
)
from tests.support.synthetic import make_run, make_setting, paper_settings

SGD = make_setting(tasks=4)
SAM = make_setting(tasks=4, optimizer="sam", rho=0.05)


def frame(*runs):
    return pd.concat([run.to_pandas() for run in runs], ignore_index=True)


def test_a_matrix_has_a_row_a_run_and_a_column_a_task():
    one, other = [0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]
    (runs,) = by_setting(
        frame(make_run(SGD, 5, accuracy=other), make_run(SGD, 2, accuracy=one))
    )
    assert runs.seeds == (2, 5)
    assert runs.matrix.tolist() == [one, other]
    assert runs.setting == SGD
    assert (runs.study, runs.expected) == ("paper", 2)


def test_another_measure_can_fill_it():
    (runs,) = by_setting(frame(make_run(SGD, 0)), "weight_norm")
    assert runs.matrix.tolist() == [[10.0, 10.1, 10.2, 10.3]]


THREE = frame(*(make_run(SGD, seed) for seed in (0, 1)), make_run(SAM, 0))


@settings(max_examples=20)
@given(order=st.permutations(range(12)))
def test_the_order_of_the_rows_does_not_matter(order):
    expected = by_setting(THREE)
    shuffled = by_setting(THREE.iloc[order].reset_index(drop=True))
    for one, other in zip(expected, shuffled, strict=True):
        assert (one.setting, one.seeds) == (other.setting, other.seeds)
        assert np.array_equal(one.matrix, other.matrix)


def test_each_seed_is_kept_by_what_became_of_it():
    sgd, sam = by_setting(
        frame(
            make_run(SGD, 0),
            make_run(SGD, 1, diverged_at=2),
            make_run(SGD, 2, rows=3),
            make_run(SGD, 3, diverged_at=0),
            make_run(SAM, 0),
            make_run(SAM, 9),
        )
    )
    assert (sgd.seeds, sgd.diverged, sgd.incomplete) == ((0,), (1, 3), (2,))
    assert (sgd.missing, sgd.expected) == ((9,), 5)
    assert (sam.seeds, sam.missing, sam.expected) == ((0, 9), (1, 2, 3), 5)
    assert sgd.matrix.shape == (1, 4)


def test_a_run_that_diverged_and_stopped_is_a_diverged_one():
    (runs,) = by_setting(frame(make_run(SGD, 0, diverged_at=1, rows=3)))
    assert (runs.diverged, runs.incomplete) == ((0,), ())


def test_a_task_too_many_or_a_null_is_no_whole_run():
    longer = make_run(make_setting(tasks=5), 0).to_pandas()
    longer["tasks"] = 4
    (runs,) = by_setting(longer)
    assert (runs.seeds, runs.incomplete) == ((), (0,))
    hole = make_run(SGD, 0).to_pandas()
    hole.loc[1, "test_accuracy"] = None
    (runs,) = by_setting(hole)
    assert (runs.seeds, runs.incomplete) == ((), (0,))


def test_seeds_of_few_settings_are_theirs_alone():
    kinds = [{**SAM, "rho": rho} for rho in (0.1, 0.2, 0.3, 0.4)]
    runs = [make_run(k, s) for k in (SGD, *kinds) for s in (0, 1)]
    more = [make_run(k, s) for k in (SGD, kinds[0]) for s in (2, 3)]
    found = by_setting(frame(*runs, *more))
    assert [r.missing for r in found] == [()] * 5
    assert [r.extra for r in found] == [(2, 3), (2, 3), (), (), ()]
    assert [r.expected for r in found] == [4, 4, 2, 2, 2]


def test_seeds_that_a_study_ran_to_confirm_are_extra_however_many_have_them():
    records = frame(
        *(make_run(SGD, s) for s in (0, 1, 2)), *(make_run(SAM, s) for s in (0, 1, 2))
    )
    records.attrs["confirming"] = {"paper": frozenset({2}), "other": frozenset({0})}
    for runs in by_setting(records):
        assert (runs.seeds, runs.extra, runs.missing) == ((0, 1, 2), (2,), ())
        assert runs.usual_seeds == {0, 1}
    # Where a filter left no other seed, they are the usual ones.
    for runs in by_setting(records[records["seed"] == 2]):
        assert (runs.seeds, runs.extra, runs.usual_seeds) == ((2,), (), {2})


def test_usual_seeds_are_those_that_a_setting_should_have():
    kinds = [{**SAM, "rho": rho} for rho in (0.1, 0.2, 0.3)]
    runs = [make_run(k, s) for k in kinds for s in (0, 1)]
    found = by_setting(frame(make_run(SGD, 0), make_run(SGD, 7), *runs))
    assert [r.usual_seeds for r in found] == [{0, 1}] * 4


def test_half_of_the_settings_make_a_seed_everyones():
    runs = [make_run(SGD, s) for s in (0, 1)] + [make_run(SAM, 0)]
    sgd, sam = by_setting(frame(*runs))
    assert (sgd.extra, sam.missing) == ((), (1,))


def test_some_seeds_can_be_looked_at_alone():
    runs = [make_run(SGD, s, diverged_at=1 if s == 3 else None) for s in range(5)]
    (whole,) = by_setting(frame(*runs))
    part = whole.select_seeds({0, 3, 4})
    assert (part.seeds, part.diverged) == ((0, 4), (3,))
    assert np.array_equal(part.matrix, whole.matrix[[0, 3]])


@pytest.mark.parametrize("change", [{"dataset": "kmnist"}, {"tasks": 5}])
def test_other_tasks_may_have_other_seeds(change):
    found = by_setting(frame(make_run(SGD, 0), make_run({**SGD, **change}, 1)))
    assert [runs.missing for runs in found] == [(), ()]


def test_another_study_may_have_other_seeds():
    found = by_setting(frame(make_run(SGD, 0, "a"), make_run(SAM, 1, "b")))
    assert [runs.missing for runs in found] == [(), ()]


def test_settings_stand_in_the_papers_order():
    kinds = [s for p in ("pairwise", "permuted") for s in paper_settings(p)]
    rows = frame(*(make_run(kind, 0) for kind in kinds[::-1]))
    found = [
        (runs.setting["problem"], runs.setting["optimizer"], runs.setting["lr"])
        for runs in by_setting(rows)
    ]
    assert found == [
        (problem, optimizer, lr)
        for problem in ("permuted", "pairwise")
        for optimizer in ("sgd", "sam", "gnp")
        for lr in (0.01, 0.001)
    ]


def test_an_optimizer_the_paper_lacks_comes_last():
    kinds = [{**SAM, "optimizer": name} for name in ("asam", "sam", "sgd")]
    rows = frame(*(make_run(kind, 0, accuracy=[0.5] * 4) for kind in kinds))
    found = [runs.setting["optimizer"] for runs in by_setting(rows)]
    assert found == ["sgd", "sam", "asam"]


def test_needed_columns_are_enough():
    rows = frame(make_run(SGD, 0))
    assert len(by_setting(rows[[*NEEDED, *SGD, "test_accuracy"]])) == 1


def test_runs_are_grouped_by_problem_with_their_labels():
    other = make_setting("pairwise", tasks=4)
    settings = by_setting(frame(*(make_run(s, 0) for s in (SGD, other, SAM))))
    groups = [(name, [r.setting for r in g], n) for name, g, n in by_problem(settings)]
    assert groups == [
        ("permuted", [SGD, SAM], ["SGD lr 0.01", "SAM lr 0.01"]),
        ("pairwise", [other], ["SGD lr 0.01"]),
    ]


def test_a_label_does_not_depend_on_another_study():
    """rho is named only where the study itself has several values of rho."""
    wide = {**SAM, "rho": 0.5}
    one, both = make_run(SAM, 0, "one"), [make_run(s, 0, "two") for s in (SAM, wide)]
    ((_, settings, names),) = by_problem(by_setting(frame(one, *both)))
    assert [runs.study for runs in settings] == ["one", "two", "two"]
    assert names == ["SAM lr 0.01", "SAM lr 0.01 rho 0.05", "SAM lr 0.01 rho 0.5"]


def test_varying_columns_are_those_that_differ():
    assert varying_columns([SGD, {**SGD, "epochs": 2, "hidden": "10"}]) == [
        "epochs",
        "hidden",
    ]
    assert varying_columns([SGD]) == []


def test_labels_are_short_and_tell_settings_apart():
    assert labels(paper_settings()) == [
        "SGD lr 0.01",
        "SGD lr 0.001",
        "SAM lr 0.01",
        "SAM lr 0.001",
        "GNP lr 0.01",
        "GNP lr 0.001",
    ]
    assert labels([SGD, {**SGD, "hidden": "10"}]) == [
        "SGD lr 0.01 hidden 100-100-100",
        "SGD lr 0.01 hidden 10",
    ]


REDO = {**SGD, "intervention": "redo", "redo_tau": 0.1}
FRESH = {"intervention": "fresh"}
ADAM = {**SGD, "lr": 0.001, "base": "adam", "beta1": 0.9}


def test_labels_name_the_parts_and_not_what_they_imply():
    kinds = [SGD, {**SGD, "weight_decay": 0.1}, REDO, {**ADAM, **FRESH}, SAM]
    assert labels(kinds) == [
        "SGD lr 0.01 weight_decay 0",
        "SGD lr 0.01 weight_decay 0.1",
        "SGD lr 0.01 redo",
        "SGD adam lr 0.001 fresh",
        "SAM lr 0.01",
    ]
    assert labels([REDO, {**REDO, "redo_tau": 0.2}, SGD])[:2] == [
        "SGD lr 0.01 redo redo_tau 0.1",
        "SGD lr 0.01 redo redo_tau 0.2",
    ]


def test_labels_tell_what_differs_between_the_methods():
    kinds = [{**SGD, "weight_decay": 0.1, "momentum": 0.9}, SAM, {**SAM, "lr": 0.1}]
    assert labels(kinds) == [
        "SGD lr 0.01 momentum 0.9 weight_decay 0.1",
        "SAM lr 0.01",
        "SAM lr 0.1",
    ]
    assert labels([{**SGD, "activation": "tanh"}, {**SAM, "batch_size": 1}]) == [
        "SGD lr 0.01 batch_size 16 activation tanh",
        "SAM lr 0.01 batch_size 1",
    ]


def test_what_the_parts_imply_is_told_once():
    assert implied_values([SGD, REDO, ADAM]) == {"redo_tau": 0.1, "beta1": 0.9}
    # what differs where it applies, or applies to all, must be told of each
    assert implied_values([SGD, REDO, {**REDO, "redo_tau": 0.2}]) == {}
    assert implied_values([REDO, {**ADAM, "redo_tau": 0.2}]) == {"beta1": 0.9}
    assert implied_values([{**SGD, "momentum": 0.9}, REDO]) == {"redo_tau": 0.1}
    assert implied_values([{**SGD, "activation": "tanh"}, REDO]) == {"redo_tau": 0.1}


@given(st.data())
def test_labels_of_different_settings_differ(data):
    values = {
        "optimizer": ["sgd", "sam"],
        "lr": [0.1, 0.01],
        "rho": [0.05, 0.1],
        "epochs": [1, 2],
        "intervention": ["reset", None],
        "base": ["adam", None],
    }
    drawn = st.tuples(*map(st.sampled_from, values.values()))
    kinds = drawn.map(lambda row: dict(zip(values, row, strict=True)))
    unique = st.lists(
        kinds, min_size=1, max_size=8, unique_by=lambda s: tuple(s.items())
    )
    chosen = [make_setting(**kind) for kind in data.draw(unique)]
    assert len(set(labels(chosen))) == len(chosen)
