"""The stack: seeds that move together with their networks and memory."""

from __future__ import annotations

import pytest
import torch

from trainables.networks.network import initial_network
from trainables.networks.stack import Memory, Stack, in_pixel_order
from trainables.problems import Permuted


def memory(inputs: int = 6) -> Memory:
    network = initial_network([inputs, 5, 3], [0, 1, 2], dtype=torch.float64)
    marks = {"age": torch.arange(6).reshape(3, 2), "count": torch.arange(3).double()}
    return Memory({"first": network}, {"origin": network.map(torch.clone)}, marks)


def stack(inputs: int = 6) -> Stack:
    network = initial_network([inputs, 5, 3], [7, 8, 9], dtype=torch.float64)
    return Stack([7, 8, 9], 0, network, memory(inputs))


def test_everything_follows_its_seeds():
    whole, expected = stack(), stack().tensors()
    part, copies = whole.part(1, 3), whole.take([2, 0])
    assert (part.seeds, copies.seeds) == ([8, 9], [9, 7])
    assert len(expected) == 4 + 4 + 4 + 2
    for now, view, copy, before in zip(
        whole.tensors(), part.tensors(), copies.tensors(), expected, strict=True
    ):
        assert torch.equal(view, before[1:3])
        assert torch.equal(copy, before[[2, 0]])
        view += 1
        assert torch.equal(now[1:], before[1:] + 1)
        assert torch.equal(copy, before[[2, 0]])


def test_seeds_are_reordered_in_place():
    one, expected = stack(), stack().tensors()
    addresses = [tensor.data_ptr() for tensor in one.tensors()]
    one.reorder([2, 0, 1])
    assert one.seeds == [9, 7, 8]
    assert [tensor.data_ptr() for tensor in one.tensors()] == addresses
    for now, before in zip(one.tensors(), expected, strict=True):
        assert torch.equal(now, before[[2, 0, 1]])


def test_a_memory_is_set_to_0():
    one = memory()
    one.forget()
    assert all((tensor == 0).all() for tensor in one.named().values())


def test_all_that_has_the_weights_shape_is_in_pixel_order():
    one, before = stack(784), stack(784)
    tasks = [Permuted().task(seed, 1) for seed in one.seeds]
    images = torch.rand(3, 4, 784, dtype=torch.float64)
    permuted = torch.stack(
        [x[:, task.pixels] for x, task in zip(images, tasks, strict=True)]
    )
    changed = (one.network, one.memory.moments["first"], one.memory.kept["origin"])
    originals = (
        before.network, before.memory.moments["first"], before.memory.kept["origin"]
    )  # fmt: skip
    with in_pixel_order(tasks, one.network, one.memory):
        for now, then in zip(changed, originals, strict=True):
            torch.testing.assert_close(
                images @ now.weights[0], permuted @ then.weights[0]
            )
        for name, mark in one.memory.marks.items():
            assert torch.equal(mark, before.memory.marks[name])
    for now, then in zip(one.tensors(), before.tensors(), strict=True):
        assert torch.equal(now, then)


def test_a_memory_of_another_setting_is_refused():
    one = memory()
    tensors = memory().named()
    one.load(tensors)
    for wrong in (
        {n: t for n, t in tensors.items() if n != "marks/age"},
        tensors | {"marks/more": torch.zeros(3)},
        tensors | {"marks/age": torch.zeros(3)},
    ):
        with pytest.raises(ValueError, match="belongs to another setting"):
            one.load(wrong)
