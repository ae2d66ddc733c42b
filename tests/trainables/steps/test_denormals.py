"""Denormal numbers count as 0 while networks train, and change no record."""

from __future__ import annotations

import sys

import pytest
import torch

from tests.trainables.steps.test_native import block, new_stack
from trainables.bases import Adam
from trainables.data.examples import Reader
from trainables.optimizers import SGD
from trainables.run import ContinualRun
from trainables.setting import RunOptions, Setting
from trainables.steps import native
from trainables.steps.process import flushed_denormals

TINY = 1e-40  # denormal in float32


def are_flushed() -> bool:
    return sys.float_info.min / 2 == 0


def test_flushing_ends_with_the_block():
    with flushed_denormals():
        assert are_flushed()
        assert not torch.full((3,), TINY).mul(0.5).any()
        with flushed_denormals():
            pass
        assert are_flushed()
    assert not are_flushed()


def test_the_c_steps_flush_and_restore():
    """A pixel that is always black gives no gradient: its velocity only shrinks."""
    images, batches = block([30, 20, 6], 2, 4, 3)
    images[:, 7] = 0
    setting = Setting(optimizer=SGD(lr=0.1, momentum=0.9))
    stack = new_stack(setting, [30, 20, 6], [0, 1], torch.float32)
    velocity = stack.memory.moments["velocity"]
    for tensor in velocity.tensors():
        tensor.fill_(TINY)
    native.train(setting, stack, Reader(images, torch.float32), batches)
    assert not are_flushed()
    assert (velocity.weights[0][:, 7] == 0).all()
    assert velocity.weights[0].ne(0).any()


@pytest.mark.parametrize("base", [None, Adam()], ids=str)
def test_records_with_and_without_flushing_are_the_same(base, few, monkeypatch):
    setting = Setting(
        optimizer=SGD(lr=0.01, momentum=0.0 if base else 0.9),
        base=base,
        dataset="mnist-5k",
        tasks=2,
        hidden=(12, 10),
    )

    def train() -> tuple[list, int]:
        options = RunOptions(landscape_every=0)
        run = ContinualRun(setting, [0, 1], few, engine="torch", options=options)
        moments = list(run.stack.memory.moments.values())
        for moment in moments:  # as late in a stream, where most of them are denormal
            for tensor in moment.tensors():
                tensor.fill_(TINY)
        rows = [row for _ in range(2) for row in run.next_task()]
        denormal = sum(int((t != 0).sum()) for m in moments for t in m.weights[:1])
        return [{k: v for k, v in r.items() if k != "seconds"} for r in rows], denormal

    flushed, fewer = train()
    monkeypatch.setattr(torch, "set_flush_denormal", lambda mode: True)
    usual, more = train()
    assert flushed == usual
    assert fewer < more
