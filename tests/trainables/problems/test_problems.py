"""Streams of tasks: what they hold, and that they depend on seed and place alone.

After a change that is meant to change the streams: python tests/test_problems.py
"""

from __future__ import annotations

import inspect
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from trainables.data.examples import draw
from trainables.problems import (
    MNIST,
    PROBLEMS,
    Accumulating,
    ClassPairs,
    Form,
    Gradual,
    Growing,
    LabelPermuted,
    Pairwise,
    PairwiseOriented,
    Permuted,
    RandomLabels,
    Rotating,
    Task,
)
from trainables.problems.task import check_tasks
from trainables.setting import Setting
from trainables.usage import UsageError

WITH_IMAGES = [problem for problem in PROBLEMS.values() if problem.control is None]
GOLDEN = Path(__file__).parents[2] / "golden" / "problems.json"


def same(one: Task, other: Task) -> bool:
    pixels = np.array_equal(one.pixels, other.pixels)
    return (one.label, one.classes) == (other.label, other.classes) and pixels


@pytest.mark.parametrize("problem", PROBLEMS.values())
def test_a_task_is_a_pure_function_of_seed_and_index(problem):
    forth = {(s, i): problem().task(s, i) for s in range(3) for i in range(10)}
    back = {(s, i): problem().task(s, i) for s in (2, 1, 0) for i in range(9, -1, -1)}
    assert all(same(forth[place], back[place]) for place in forth)
    again = problem()
    np.random.default_rng().random(10)
    assert all(same(again.task(s, i), task) for (s, i), task in forth.items())


@pytest.mark.parametrize("problem", PROBLEMS.values())
def test_a_stream_never_meets_the_optimizer(problem):
    assert list(inspect.signature(problem().task).parameters) == [
        "seed",
        "index",
        "form",
    ]


@pytest.mark.parametrize("problem", WITH_IMAGES)
def test_a_default_stream_fits(problem):
    setting = Setting(problem=problem())
    last = setting.problem.task(0, setting.tasks - 1)
    assert len(last.classes) == setting.outputs


@pytest.mark.parametrize("problem", [p for p in WITH_IMAGES if not p.grows])
def test_a_task_fits_the_form_of_the_dataset(problem):
    form = Form(8, 9, 2, 47)
    tasks = [problem().task(0, index, form) for index in range(20)]
    assert {len(task.classes) for task in tasks} == {problem().outputs or 47}
    assert {c for task in tasks for c in task.classes} <= set(range(47))
    assert len({task.label for task in tasks}) == 20
    for task in tasks:
        assert task.pixels is None or sorted(task.pixels) == list(range(144))


def test_a_stream_of_pairs_has_each_pair_of_many_classes_once():
    form = Form(1, 1, 1, 12)
    pairs = {Pairwise().task(0, i, form).classes for i in range(66)}
    assert len(pairs) == Pairwise().longest(form) == 66
    with pytest.raises(IndexError):
        Pairwise().task(0, 66, form)


def test_labels_are_permuted_and_images_are_not():
    tasks = [LabelPermuted().task(s, i) for s in range(5) for i in range(20)]
    assert all(sorted(task.classes) == list(range(10)) for task in tasks)
    assert all(task.pixels is None for task in tasks)
    assert len({task.classes for task in tasks}) == 100
    # each class has each label about equally often
    assert np.mean([task.classes for task in tasks], axis=0) == pytest.approx(
        4.5, abs=1.2
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_about_half_of_the_oriented_pairs_are_swapped(seed):
    tasks = [PairwiseOriented().task(seed, i) for i in range(45)]
    plain = [Pairwise().task(seed, i) for i in range(45)]
    assert [sorted(t.classes) for t in tasks] == [list(t.classes) for t in plain]
    swapped = sum(t.classes != p.classes for t, p in zip(tasks, plain, strict=True))
    assert 12 <= swapped <= 33
    assert all(t.label == "v".join(map(str, t.classes)) for t in tasks)


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_a_gradual_task_permutes_its_share_of_the_pixels_of_the_task_before(share):
    problem, count = Gradual(pixel_share=share), round(784 * share)
    tasks = [problem.task(3, i).pixels for i in range(6)]
    assert tasks[0].tolist() == list(range(784))
    for before, after in itertools.pairwise(tasks):
        assert sorted(after) == list(range(784))
        # a random permutation leaves about one pixel in its place
        assert count - 6 <= (before != after).sum() <= count
    moved = np.mean(tasks[5] != np.arange(784))
    assert moved == pytest.approx(1 - (1 - share) ** 5, abs=0.06)


def test_shuffled_labels_are_those_of_the_same_images():
    labels = np.repeat(np.arange(10), 20)
    drawn = [draw(RandomLabels().task(4, i), labels, 50, 4, i) for i in range(3)]
    for examples in drawn:
        assert examples.positions.tolist() == drawn[0].positions.tolist()
        own = labels[examples.positions]
        assert sorted(examples.labels) == sorted(own)
        assert (examples.labels == own).mean() < 0.4
    assert drawn[0].labels.tolist() != drawn[1].labels.tolist()
    other = draw(RandomLabels().task(5, 0), labels, 50, 5, 0)
    assert other.positions.tolist() != drawn[0].positions.tolist()


def test_accumulating_tasks_have_all_images_of_the_tasks_before():
    labels, problem = np.repeat(np.arange(10), 20), Accumulating(chunks=4)
    whole = [draw(problem.task(4, i), labels, None, 4, i) for i in range(6)]
    sets = [set(examples.positions) for examples in whole]
    assert [len(positions) for positions in sets] == [50, 100, 150, 200, 200, 200]
    assert all(one < other for one, other in itertools.pairwise(sets[:4]))
    assert whole[0].labels.tolist() == labels[whole[0].positions].tolist()
    some = [draw(problem.task(4, i), labels, 30, 4, i) for i in range(6)]
    for examples, positions in zip(some, sets, strict=True):
        assert len(examples.labels) == 30
        assert set(examples.positions) <= positions
    assert set(draw(problem.task(5, 0), labels, None, 5, 0).positions) != sets[0]


def test_examples_are_drawn_anew_for_each_task():
    labels = np.repeat(np.arange(10), 20)
    drawn = [draw(Permuted().task(4, i), labels, 50, 4, i) for i in range(2)]
    for examples in drawn:
        assert len(set(examples.positions)) == 50
        assert examples.labels.tolist() == labels[examples.positions].tolist()
    assert drawn[0].positions.tolist() != drawn[1].positions.tolist()
    pair = draw(Pairwise().task(4, 0), labels, 500, 4, 0)  # it has only 40
    assert len(pair.labels) == 40


def test_permutations_are_permutations_of_all_classes():
    for seed, index in itertools.product(range(3), range(4)):
        task = Permuted().task(seed, index)
        assert sorted(task.pixels) == list(range(784))
        assert task.classes == tuple(range(10))
        assert len(task.label) == 8
        assert int(task.label, 16) >= 0


def test_permutations_differ_by_task_and_seed():
    """The first one included: no task leaves the image as it is."""
    tasks = [Permuted().task(s, i) for s in range(5) for i in range(20)]
    orders = {task.pixels.tobytes() for task in tasks} | {np.arange(784).tobytes()}
    assert len(orders) == 101
    assert len({task.label for task in tasks}) == 100


def test_permutations_are_far_from_each_other():
    """Two random orders of 784 pixels have about one in common."""
    one, other = Permuted().task(0, 0).pixels, Permuted().task(0, 1).pixels
    assert (one == other).sum() < 10
    assert (one == np.arange(784)).sum() < 10


@pytest.mark.parametrize("seed", [0, 1, 2, 2**32 - 1])
def test_every_pair_of_classes_comes_once(seed):
    tasks = [Pairwise().task(seed, index) for index in range(45)]
    pairs = [task.classes for task in tasks]
    assert sorted(pairs) == list(itertools.combinations(range(10), 2))
    assert [task.label for task in tasks] == [f"{a}v{b}" for a, b in pairs]
    assert all(task.pixels is None for task in tasks)


def test_the_order_of_the_pairs_is_the_seeds():
    orders = {
        tuple(Pairwise().task(seed, index).label for index in range(45))
        for seed in range(20)
    }
    assert len(orders) == 20
    assert len({order[0] for order in orders}) > 5


@pytest.mark.parametrize("index", [45, 1000])
def test_there_is_no_46th_pair(index):
    with pytest.raises(IndexError):
        Pairwise().task(0, index)


@pytest.mark.parametrize("classes", [10, 47, 100])
def test_class_pairs_share_no_class_until_they_begin_again(classes):
    form, pairs = Form(32, 32, 3, classes), classes // 2
    tasks = [ClassPairs().task(5, i, form) for i in range(2 * pairs + 1)]
    used = [c for task in tasks[:pairs] for c in task.classes]
    assert len(set(used)) == len(used) == 2 * pairs
    assert [t.classes for t in tasks[pairs:]] == [t.classes for t in tasks[: pairs + 1]]
    assert all(task.label == "{}v{}".format(*task.classes) for task in tasks)
    # the larger class comes first about as often as not
    assert 0 < sum(a > b for a, b in (task.classes for task in tasks)) < len(tasks)
    assert tasks[0].classes != ClassPairs().task(6, 0, form).classes


def test_each_task_adds_new_classes_until_all_are_there():
    form, problem = Form(32, 32, 3, 47), Growing()
    tasks = [problem.task(3, i, form).classes for i in range(problem.longest(form))]
    assert [len(classes) for classes in tasks] == [*range(5, 47, 5), 47]
    assert all(b[: len(a)] == a for a, b in itertools.pairwise(tasks))
    assert sorted(tasks[-1]) == [*range(47)]
    assert tasks[0] != problem.task(4, 0, form).classes


def test_each_task_turns_the_images_as_far_as_the_task_before():
    angles = [Rotating(degrees=50).task(seed, 8).angle for seed in (0, 1)]
    assert angles == [40, 40]
    assert [Rotating().task(0, i).angle for i in range(3)] == [0, 2, 4]
    assert Rotating(degrees=0.5).task(0, 9).label == "4.5 degrees"


EVERY = tuple(range(10))
MIRRORED = np.arange(784)[::-1]


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ([Task("", (3, 3))], "classes .3, 3.: give 1 to 10 different classes"),
        ([Task("", (3, 10))], "from 0 to 9"),
        ([Task("", ())], "give 1"),
        ([Task("", EVERY, 0 * MIRRORED)], "pixels are no permutation"),
        ([Task("", EVERY, MIRRORED), Task("", EVERY)], "different kinds"),
        ([Task("", EVERY, shuffled=True), Task("", EVERY)], "different kinds"),
        ([Task("", EVERY, angle=30), Task("", EVERY)], "different kinds"),
        ([Task("", EVERY), Task("", (0, 1))], "different kinds"),
    ],
)
def test_tasks_that_seeds_cannot_learn_together_are_refused(tasks, words):
    """A seed would learn another task than its own."""
    with pytest.raises(UsageError, match=words):
        check_tasks(Growing(), tasks, MNIST)


def golden_labels() -> dict[str, dict[str, list[str]]]:
    return {
        name: {str(s): [problem().task(s, i).label for i in range(6)] for s in (0, 1)}
        for name, problem in PROBLEMS.items()
    }


def test_golden():
    assert golden_labels() == json.loads(GOLDEN.read_text())


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(golden_labels(), indent=1) + "\n")
