"""Which examples, and in which batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables.data import examples
from trainables.data.examples import (
    Examples,
    Reader,
    blocks,
    schedule,
    select,
    to_tensor,
)
from trainables.problems import Pairwise, Permuted, Task

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=6).map(
    lambda sizes: sorted(sizes, reverse=True)
)
BATCHES = st.integers(1, 50)


def batches_of(size: int, batch: int) -> list[int]:
    """Return the sizes of the batches of a seed that is alone."""
    return [batch] * (size // batch) + ([size % batch] if size % batch else [])


@given(SIZES, BATCHES)
def test_each_seed_meets_the_batches_it_would_meet_alone(sizes, batch):
    segments = schedule(sizes, batch)
    for seed, size in enumerate(sizes):
        mine = [s for s in segments if s.start <= seed < s.stop]
        steps = [(s.first + i, s.size) for s in mine for i in range(s.steps)]
        assert steps == list(enumerate(batches_of(size, batch)))


@given(SIZES, BATCHES)
def test_segments_are_slices_that_are_not_empty(sizes, batch):
    for segment in schedule(sizes, batch):
        assert 0 <= segment.start < segment.stop <= len(sizes)
        assert segment.steps > 0
        assert 0 < segment.size <= batch


@given(st.integers(1, 40), st.integers(1, 6), BATCHES)
def test_equal_sizes_go_together(size, seeds, batch):
    segments = schedule([size] * seeds, batch)
    assert all((s.start, s.stop) == (0, seeds) for s in segments)
    assert len(segments) <= 2


@given(SIZES, BATCHES, st.integers(1, 100))
def test_blocks_hold_every_example_once_in_its_order(sizes, batch, block_examples):
    random = np.random.default_rng(0)
    stack = [
        Examples(random.permutation(99)[:n], random.integers(0, 9, n)) for n in sizes
    ]
    met: list[list[tuple[list[int], list[int]]]] = [[] for _ in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "BLOCK_EXAMPLES", block_examples)
        for block in blocks(stack, batch, "cpu"):
            assert block.positions.shape == block.labels.shape
            for place, seed in enumerate(range(block.start, block.stop)):
                met[seed] += zip(
                    block.positions[:, place].tolist(),
                    block.labels[:, place].tolist(),
                    strict=True,
                )
    for mine, got in zip(stack, met, strict=True):
        assert [len(p) for p, _ in got] == batches_of(len(mine.positions), batch)
        assert [p for batch, _ in got for p in batch] == mine.positions.tolist()
        assert [y for _, batch in got for y in batch] == mine.labels.tolist()


def test_select_takes_the_tasks_classes_in_the_datasets_order():
    labels = np.array([3, 1, 7, 3, 0, 7, 7], np.uint8)
    chosen = select(Task("3v7", (3, 7)), labels)
    assert chosen.positions.tolist() == [0, 2, 3, 5, 6]
    assert chosen.labels.tolist() == [0, 1, 0, 1, 1]
    turned = select(Task("7v3", (7, 3)), labels)
    assert turned.labels.tolist() == [1, 0, 1, 0, 0]
    everything = select(Permuted().task(0, 0), labels)
    assert everything.positions.tolist() == list(range(7))
    assert everything.labels.tolist() == labels.tolist()


def test_labels_of_a_pair_are_0_and_1(digits):
    task = Pairwise().task(0, 0)
    chosen = select(task, digits.train_labels)
    assert len(chosen.positions) == 2 * 429
    digit = digits.train_labels[chosen.positions]
    assert (chosen.labels == (digit == max(task.classes))).all()
    assert set(digit) == set(task.classes)


def test_images_are_scaled_to_0_and_1():
    images = torch.tensor([[0, 255, 51], [1, 2, 3]], dtype=torch.uint8).repeat(1, 262)
    where = torch.tensor([[1, 0], [0, 0]])
    got = Reader(images[:, :784], torch.float64).read(where)
    assert got.shape == (2, 2, 784)
    assert got[0, 1, :3].tolist() == pytest.approx([0, 1, 0.2])
    torch.testing.assert_close(got, images[:, :784].double()[where] / 255)


def test_each_channel_has_a_scale_of_its_own():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (6, 4, 3), np.uint8) // [1, 2, 3]
    mean, std = (pixels / 255).mean((0, 1)), (pixels / 255).std((0, 1))
    scales = torch.tensor(1 / (255 * std)), torch.tensor(-mean / std)
    images = torch.tensor(pixels.reshape(6, 12).astype(np.uint8))
    got = Reader(images, torch.float64, None, *scales).read(torch.arange(6))
    by_channel = got.reshape(24, 3)
    torch.testing.assert_close(by_channel.mean(0), torch.zeros(3).double())
    torch.testing.assert_close(by_channel.std(0, correction=0), torch.ones(3).double())
    assert got[2, 3 * 3 + 1].item() == pytest.approx(
        (pixels[2, 3, 1] / 255 - mean[1]) / std[1]
    )


@pytest.mark.parametrize(
    "form", [(), (-0.5,), (None, torch.rand(3), torch.rand(3))], ids=len
)
def test_converted_images_are_read_as_others(form):
    images = torch.randint(256, (10, 12), dtype=torch.uint8)
    reader = Reader(images, torch.float32, *form)
    positions = torch.randint(10, (4, 2))
    converted = reader.converted()
    for _ in range(2):  # the memory is used again
        assert torch.equal(converted.read(positions), reader.read(positions))
    assert images.dtype == torch.uint8
    for own in (reader, converted):
        own.replace_images(255 - images)
    assert torch.equal(converted.read(positions), reader.read(positions))


def test_each_seed_may_have_an_order_of_its_own():
    images = torch.arange(60, dtype=torch.uint8).reshape(10, 6)
    orders = torch.stack([torch.randperm(6) for _ in range(3)])
    reader = Reader(images, torch.float64, -1.0, orders=orders)
    plain = Reader(images, torch.float64, -1.0)
    positions = torch.randint(10, (4, 3, 2))
    got, own = reader.read(positions), plain.read(positions)
    for step, seed, example in np.ndindex(4, 3, 2):
        expected = own[step, seed, example][orders[seed]]
        assert got[step, seed, example].tolist() == expected.tolist()
    part = reader.part(1, 3).read(positions[0, 1:])
    assert part.tolist() == got[0, 1:].tolist()
    assert plain.part(1, 3) is plain


def test_a_read_only_array_becomes_a_tensor_without_a_copy():
    array = np.arange(5, dtype=np.uint8)
    array.flags.writeable = False
    tensor = to_tensor(array, "cpu")
    assert tensor.tolist() == [0, 1, 2, 3, 4]
    assert tensor.data_ptr() == array.ctypes.data
