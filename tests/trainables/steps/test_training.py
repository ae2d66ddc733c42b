"""The captured step, called as it is: what a GPU replays, without a GPU."""

import functools
import gc
import weakref

import numpy as np
import pytest
import torch

from trainables.data.examples import Block, Reader, to_tensor
from trainables.networks.network import initial_network
from trainables.networks.stack import Memory
from trainables.optimizers import GNP, SAM, SGD
from trainables.run import ContinualRun
from trainables.setting import Setting
from trainables.steps import fast, trainer, training
from trainables.steps.training import Graphs, train

CASES = [SGD(lr=0.05, momentum=0.9, weight_decay=0.01), SAM(lr=0.05), GNP(lr=0.05)]


def block(start, stop, steps, size, few, seed=0):
    random = np.random.default_rng(seed)
    rows = random.integers(0, len(few.train_labels), (steps, stop - start, size))
    return Block(
        start,
        stop,
        torch.from_numpy(rows),
        torch.from_numpy(few.train_labels[rows].astype(int)),
    )


def updates(network, velocity, optimizer):
    def make_update(start, stop):
        moving = velocity and velocity.part(start, stop)
        part = network.part(start, stop)
        memory = Memory({"velocity": moving} if moving else {})
        return functools.partial(fast.step, part, memory, optimizer)

    return make_update


def everything(network, velocity):
    return [*network.tensors(), *(velocity.tensors() if velocity else [])]


@pytest.mark.parametrize("optimizer", CASES, ids=lambda o: o.name)
def test_a_captured_step_is_the_step(optimizer, few):
    reader = Reader(to_tensor(few.train_images, "cpu"), torch.float64)
    ours = initial_network([784, 20, 10], [0, 1, 2], dtype=torch.float64)
    theirs = ours.map(torch.clone)
    moving = optimizer.momentum > 0
    speed, other = (n.zeros_like() if moving else None for n in (ours, theirs))
    mine, their = updates(ours, speed, optimizer), updates(theirs, other, optimizer)
    graphs = Graphs(
        mine, everything(ours, speed), 10, reader, capture=lambda once: once
    )
    # the same shape again and with fewer steps, fewer seeds, and more steps than before
    shapes = [(0, 3, 9, 4), (0, 3, 5, 4), (0, 2, 6, 4), (1, 3, 6, 2), (0, 3, 12, 4)]
    for seed, shape in enumerate(shapes):
        part = block(*shape, few, seed)
        with torch.no_grad():
            sums = graphs.train(part)
            expected = train(their(part.start, part.stop), reader, part)
        for a, b in zip(sums, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=0)
    for a, b in zip(ours.tensors(), theirs.tensors(), strict=True):
        assert torch.equal(a, b)


def test_a_captured_step_keeps_the_memory_that_it_uses(few, monkeypatch):
    """A graph does not own the memory that a step had before it was captured."""
    readers = []
    clone = Reader.clone

    def remembered(reader):
        copy = clone(reader)
        readers.append(weakref.ref(copy))
        return copy

    monkeypatch.setattr(Reader, "clone", remembered)
    reader = Reader(to_tensor(few.train_images, "cpu"), torch.float64)
    network = initial_network([784, 20, 10], [0, 1], dtype=torch.float64)
    update = updates(network, None, SGD(lr=0.05))

    def capture(steps):
        steps()  # a warm-up, after which only the graph exists
        return lambda: None

    graphs = Graphs(update, network.tensors(), 10, reader, capture=capture)
    with torch.no_grad():
        graphs.train(block(0, 2, 16, 4, few))
    gc.collect()
    assert len(readers) == 1
    assert readers[0]() is not None


def test_graphs_die_without_the_garbage_collector(few, monkeypatch):
    """Freeing a graph while another is captured would spoil the other."""
    graphs = []
    monkeypatch.setattr(training, "capture_graph", lambda tensors, steps: steps)

    class Remembered(Graphs):
        def __init__(self, *args):
            super().__init__(*args)
            graphs.append(weakref.ref(self))

    monkeypatch.setattr(trainer, "Graphs", Remembered)
    run = ContinualRun(Setting(dataset="mnist-5k", tasks=1, hidden=(6,)), [0], few)
    own = trainer.Trainer(run.setting, "torch", run.trainer.reader)
    stacks = [run.stack, run.stack.take([0])]
    gc.disable()
    try:
        for stack in stacks:
            own._graphs_of(stack).train(block(0, 1, 16, 4, few))
        assert [graph() is None for graph in graphs] == [True, False]
        del own
        assert graphs[1]() is None
    finally:
        gc.enable()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("optimizer", CASES, ids=lambda o: o.name)
def test_a_captured_step_is_the_step_on_a_gpu(optimizer, few):
    reader = Reader(to_tensor(few.train_images, "cuda"), torch.float64)
    ours = initial_network([784, 20, 10], [0, 1], "cuda", torch.float64)
    theirs = ours.map(torch.clone)
    moving = optimizer.momentum > 0
    speed, other = (n.zeros_like() if moving else None for n in (ours, theirs))
    mine, their = updates(ours, speed, optimizer), updates(theirs, other, optimizer)
    graphs = Graphs(mine, everything(ours, speed), 10, reader)
    for seed in range(3):
        part = Block(
            *(
                x.cuda() if torch.is_tensor(x) else x
                for x in block(0, 2, 20, 4, few, seed)
            )
        )
        with torch.no_grad():
            sums = graphs.train(part)
            expected = train(their(part.start, part.stop), reader, part)
        for a, b in zip(sums, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
