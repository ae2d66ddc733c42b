"""A GPU that computes nothing, for tests on a machine without one.

Torch's fake tensors have a device, a shape and a dtype, but no values. An operation on
tensors of two devices is an error, as on a GPU. `FakeGPU` also notices when the
program waits for the GPU, and what a CUDA graph cannot capture.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from trainables.steps import training

ATEN = torch.ops.aten


class FakeGPU(TorchDispatchMode):
    """Counts how often the program waits for the GPU. All values that it reads are 1.

    Attributes:
        waits: How often a value or a tensor went from the GPU to the CPU.
        graphs: The number of captured graphs.
        is_capturing: Whether a graph is being captured.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits = self.graphs = 0
        self.is_capturing = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is ATEN._local_scalar_dense.default:
            self.count_copy(args[0].device, torch.device("cpu"))
            dtype = args[0].dtype
            return (
                True if dtype == torch.bool else 1.0 if dtype.is_floating_point else 1
            )
        if (
            func is ATEN.nonzero.default
        ):  # its shape depends on values: say one is not 0
            self.waits += args[0].is_cuda
            return args[0].new_zeros((1, args[0].dim()), dtype=torch.int64)
        if func is ATEN._to_copy.default and kwargs.get("device") is not None:
            self.count_copy(args[0].device, torch.device(kwargs["device"]))
        if func is ATEN.copy_.default:
            self.count_copy(args[1].device, args[0].device)
        return func(*args, **kwargs)

    def count_copy(self, source: torch.device, target: torch.device) -> None:
        """Count a copy between devices, which a graph must not capture."""
        if source.type == target.type:
            return
        assert not self.is_capturing, f"a graph captures a copy to {target.type}"
        self.waits += target.type == "cpu"

    def capture(self, tensors: Any, steps: Callable[[], None]) -> Callable[[], None]:
        """Do what `capture_graph` does, but capture nothing."""
        steps()  # the warm-up
        self.graphs, self.is_capturing = self.graphs + 1, True
        steps()
        self.is_capturing = False
        return lambda: None


def no_gradient(outputs: Any, inputs: Any, *args: Any, **options: Any) -> Any:
    """Do what `torch.autograd.grad` does, but let all gradients be 0."""
    if isinstance(inputs, torch.Tensor):
        return (torch.zeros_like(inputs),)
    return tuple(torch.zeros_like(tensor) for tensor in inputs)


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """Return an array of zeros, because a fake tensor has no values."""
    assert tensor.device.type == "cpu"
    kind = str(tensor.dtype).removeprefix("torch.")
    return np.zeros(tuple(tensor.shape), kind)


@contextlib.contextmanager
def fake_gpu(monkeypatch: Any) -> Iterator[FakeGPU]:
    """Let tensors be on the device "cuda" inside of the `with` statement."""
    gpu = FakeGPU()
    monkeypatch.setattr(training, "capture_graph", gpu.capture)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *device: "fake")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda *device: 2**30)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda *device: 2**31)
    properties = SimpleNamespace(total_memory=2**33)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    # autograd needs a real GPU: let all gradients be 0
    monkeypatch.setattr(torch.autograd, "grad", no_gradient)
    monkeypatch.setattr(torch.Tensor, "numpy", to_numpy)
    with FakeTensorMode(allow_non_fake_inputs=True), gpu:
        yield gpu
