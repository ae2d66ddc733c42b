"""The native engine: training and testing in C on a CPU (`c/steps.c`).

The C steps are faster than torch for three reasons:

- One call computes all steps of a block of batches for one network. The network's
  weights therefore stay in the cache of the core.
- A step does not have the overhead of about twenty calls of torch.
- Matrix products with 16 examples run near the peak speed of the core.

The seeds share no data. The results of a seed therefore do not depend on the other
seeds that are trained together.

PPO trains an actor and a critic (`train_on_steps`). For the C code, these are one
network with two chains of layers, so that everything that changes weights is the same
code as for classifiers.

SNR and continual backprop replace hidden units. The C code computes the statistics of
the units at every step. If units must be replaced, the C code returns after the step,
and Python replaces them.

Torch computes the steps of a new optimizer. To add a method to the C code, extend
`apply` in `c/kernels.c` (how a weight is updated) or `c/family.c` (how the gradient is
computed). If the method stores new numbers for each weight, add them to `Kind` in
`c/steps.h`. Add its hyperparameters to `Hyperparameters` there. Change
`trainables.steps.extension` in the same way, add a case to `trainables.steps.check`,
and add its class to `STEP_OPTIMIZERS` or `STEP_INTERVENTIONS` here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainables.bases import Adam
from trainables.data.examples import Block, Examples, Reader
from trainables.interventions import (
    SNR,
    UPGD,
    ContinualBackprop,
    HareTortoise,
    L2Init,
    Parseval,
    SpectralNorm,
    SpectralRegularization,
    StepShrinkPerturb,
)
from trainables.interventions.noise import Noise
from trainables.networks import ActorCritic
from trainables.networks.network import Network
from trainables.networks.stack import Memory, Stack
from trainables.optimizers import (
    ASAM,
    EPSILON,
    FSAM,
    GAM,
    GNP,
    GSAM,
    MSAM,
    SAM,
    SGD,
    WSAM,
    LookSAM,
    VaSSO,
)
from trainables.setting import Setting
from trainables.steps import extension
from trainables.steps.extension import (
    ACTIVATIONS,
    DISTRIBUTIONS,
    KINDS,
    METHODS,
    Batches,
    Hyperparameters,
    Parameters,
    Sums,
    Units,
)
from trainables.steps.training import StepSums

STEP_OPTIMIZERS = (
    *(SGD, SAM, GNP, ASAM, WSAM),  # mixtures of two gradients
    *(GSAM, FSAM, VaSSO, MSAM, LookSAM, GAM),
)
"""The optimizers whose gradient the C code has. Torch computes the steps of others."""

STEP_INTERVENTIONS = (
    *(L2Init, HareTortoise, StepShrinkPerturb, UPGD),
    *(SpectralNorm, SpectralRegularization, Parseval, SNR, ContinualBackprop),
)
"""The interventions whose penalty or `Intervention.step` the C code has.

Other interventions can have a penalty or a `step` too. If such an intervention has idle
steps (`Intervention.rests`), C computes its idle steps and torch its other steps.
Without idle steps, torch computes all steps.
"""

MAX_WEIGHTS = 4_000_000
"""The largest number of weights of a network that the C steps train.

Memory bandwidth limits the speed of larger networks, so torch is as fast as C.
"""


def supports(setting: Setting, network: Network) -> bool:
    """Return whether the C steps can train the networks of a setting.

    They can also test these networks, except actors and critics.
    """
    kind, intervention = type(network.kind), setting.intervention
    is_actor_critic = kind is ActorCritic
    is_in_c = (
        intervention is None
        or not (intervention.penalizes or intervention.steps)
        or (intervention.rests and not intervention.penalizes and not is_actor_critic)
        or type(intervention) in STEP_INTERVENTIONS
    )
    return (
        kind in (type(None), ActorCritic)
        and network.weights[0].device.type == "cpu"
        and type(setting.optimizer) in STEP_OPTIMIZERS
        and type(setting.base) in (type(None), Adam)
        and is_in_c
        and setting.normalization is None
        and network.activation in ACTIVATIONS
        and sum(w[0].numel() for w in network.weights) <= MAX_WEIGHTS
    )


def train(setting: Setting, stack: Stack, reader: Reader, block: Block) -> StepSums:
    """Train the networks of a block's seeds in place; return each seed's sums.

    The seeds are trained in parallel, on as many threads as torch uses. `stack` has the
    seeds of the block, and `reader` has all training images of the dataset.

    Raises:
        Unavailable: The C extension cannot be used on this machine.
        ValueError: A position or a label is out of range, or the images do not fit the
            network.
    """
    network = stack.network
    steps, seeds, batch = block.positions.shape
    images = _check_images(network, reader.images)
    positions, labels = _check_examples(network, images, block.positions, block.labels)

    def batches(seed: int, done: int) -> Batches:
        first = positions[done, seed], labels[done, seed]
        data = [t.data_ptr() for t in (images, *first)]
        stride, low = seeds * batch, reader.low or 0
        return Batches(steps - done, batch, stride, *data, low=low)

    return _train(setting, stack, steps, batches)


def train_on_steps(
    setting: Setting,
    stack: Stack,
    inputs: Float[Tensor, "S n inputs"],
    targets: Float[Tensor, "S n 4"],
    positions: Int[Tensor, "S steps batch"],
) -> None:
    """Train actors and critics in place with the loss of PPO.

    Args:
        setting: The setting of the run.
        stack: The networks of the seeds, and their memory.
        inputs: The observations.
        targets: See `trainables.steps.ppo_loss`.
        positions: The observations in the batch of each update.

    Raises:
        Unavailable: The C extension cannot be used on this machine.
        ValueError: A position or an action is out of range, or the arrays do not fit
            the network.
    """
    network = stack.network
    _, steps, batch = positions.shape
    if inputs.shape[2] != network.weights[0].shape[1]:
        raise ValueError("each observation must have one number per network input")
    if len(positions) != network.seeds or targets.shape != (*inputs.shape[:2], 4):
        raise ValueError("each seed must have positions, and each step four targets")
    actions, choices = targets[..., 0], network.weights[network.heads[0]].shape[2]
    if actions.min() < 0 or actions.max() >= choices:
        raise ValueError(f"actions must be at least 0 and below {choices}")
    if positions.min() < 0 or positions.max() >= inputs.shape[1]:
        raise ValueError(f"positions must be at least 0 and below {inputs.shape[1]}")
    inputs, targets = (t.to(network.weights[0]).contiguous() for t in (inputs, targets))
    positions = positions.long().contiguous()

    def batches(seed: int, done: int) -> Batches:
        data = positions[seed, done], inputs[seed], targets[seed]
        at, *rows = [t.data_ptr() for t in data]
        return Batches(
            steps - done, batch, batch, None, at, None, inputs=rows[0], targets=rows[1]
        )

    _train(setting, stack, steps, batches)


def _train(
    setting: Setting, stack: Stack, steps: int, batches: Callable[[int, int], Batches]
) -> StepSums:
    """Train the networks of `stack` in place for `steps` updates; return the sums.

    `batches` takes the place of a seed in `stack`, and how many updates it has made. It
    returns the batches of the other updates.
    """
    network, intervention = stack.network, setting.intervention
    functions = extension.load(network.weights[0].dtype).functions
    in_c = type(intervention) in STEP_INTERVENTIONS
    noise = intervention.noise(network) if intervention and in_c else None

    def train_seed(seed: int, sums: Sums) -> Any:
        own, status = stack.part(seed, seed + 1), 0
        parameters = _parameters(own.network, own.memory, noise)
        while sums.steps < steps and not status:
            rest = batches(seed, int(sums.steps))
            part, hyperparameters = Sums(), _hyperparameters(setting, own, noise)
            status = functions.train(parameters, rest, hyperparameters, part)
            for name, *_ in Sums._fields_:
                setattr(sums, name, getattr(sums, name) + getattr(part, name))
            _count(setting, own.memory, int(part.steps))
            if intervention and in_c:
                intervention.replace(own)
        return status

    return StepSums(*_run_seeds(train_seed, len(stack.seeds)).unbind(1))


def test(network: Network, stack: list[Examples], reader: Reader) -> dict[str, Tensor]:
    """Test the network of each seed on that seed's examples.

    Returns test_loss and test_accuracy, as `trainables.measuring.measure_tests` does.

    Raises:
        Unavailable: The C extension cannot be used on this machine.
        ValueError: A position or a label is out of range, or the images do not fit the
            network.
    """
    functions = extension.load(network.weights[0].dtype).functions
    images = _check_images(network, reader.images)

    def test_seed(seed: int, sums: Sums) -> Any:
        examples = map(torch.from_numpy, stack[seed])
        positions, labels = _check_examples(network, images, *examples)
        data = [t.data_ptr() for t in (images, positions, labels)]
        count, low = len(labels), reader.low or 0
        batches = Batches(1, count, count, *data, low=low)
        parameters = _parameters(network.part(seed, seed + 1), Memory())
        return functions.test(parameters, batches, sums)

    counts = torch.tensor([len(examples.labels) for examples in stack])
    sums = _run_seeds(test_seed, len(stack))
    loss, correct = (sums / counts.unsqueeze(1)).unbind(1)
    return {"test_loss": loss, "test_accuracy": correct}


def _hyperparameters(
    setting: Setting, stack: Stack, noise: Noise | None
) -> Hyperparameters:
    """Return the C struct with the hyperparameters and the update counts of one seed.

    Most fields have the name of a hyperparameter or of a mark (see `Memory`). The field
    `updates` can also come from marks["steps"].
    """
    marks, names = stack.memory.marks, [f[0] for f in Hyperparameters._fields_]
    values: dict[str, Any] = {"epsilon": EPSILON, "rho_level": 1.0}
    for part in (setting.optimizer, setting.base, setting.intervention):
        values |= {name: getattr(part, name) for name in names if hasattr(part, name)}
    values |= {name: float(marks[name]) for name in names if name in marks}
    if "steps" in marks:
        values.setdefault("updates", float(marks["steps"]))
    values["rho_follows"] = values.get("rho_follows") == "lr"
    values["seed"] = stack.seeds[0]
    values["distribution"] = DISTRIBUTIONS.index(noise and noise.distribution)
    values["is_printed"] = getattr(setting.intervention, "utility", "") == "printed"
    values["method"] = METHODS.index(_method(setting))
    return Hyperparameters(**{name: value or 0 for name, value in values.items()})


def _method(setting: Setting) -> str:
    """Return the method, one of `METHODS`, that computes the setting's gradient."""
    optimizer = setting.optimizer
    if isinstance(optimizer, WSAM):
        is_plain = not (optimizer.momentum or setting.base)  # both forms are equal
        return "mixture" if is_plain or optimizer.wsam_form == "coupled" else "wsam"
    return optimizer.name if optimizer.name in METHODS else "mixture"


def _count(setting: Setting, memory: Memory, steps: int) -> None:
    """Add `steps`, the number of updates in C, to the counters in `memory.marks`."""
    counts = {"updates", "steps", "rho_updates"}
    if setting.optimizer.rho and setting.optimizer.alpha:
        counts.add("looksam_updates")
        if "ascent_begun" in memory.marks:
            memory.marks["ascent_begun"].fill_(1)
    for name in counts & memory.marks.keys():
        memory.marks[name] += steps


def _run_seeds(work: Callable[[int, Sums], Any], seeds: int) -> Tensor:
    """Call `work` for each seed in parallel, on as many threads as torch uses.

    Returns the sums (loss, correct predictions) of each seed, of shape (S, 2).
    """
    sums = (Sums * seeds)()
    threads = torch.get_num_threads()
    if threads == 1:
        statuses = list(map(work, range(seeds), sums))
    else:
        with ThreadPoolExecutor(threads) as pool:
            statuses = list(pool.map(work, range(seeds), sums))
    if any(statuses):
        raise MemoryError("memory ran out in the C steps: free some memory and retry")
    return torch.frombuffer(sums, dtype=torch.float64).reshape(seeds, -1)[:, :2]


def _parameters(
    network: Network, memory: Memory, noise: Noise | None = None
) -> Parameters:
    """Return the C struct that points to the numbers of one seed and its memory."""
    # the number of inputs, then each layer's number of units (which can have 2 outputs)
    widths = [network.weights[0].shape[1], *(w.shape[2] for w in network.weights)]
    names = {"average": "tortoise"}  # the names of kinds in `Memory`, if they differ
    arrays = {"value": network, **memory.moments, **memory.kept}
    networks = [arrays.get(names.get(kind, kind)) for kind in KINDS]
    sizes = noise.sizes if noise else []
    addresses = {name: mark.data_ptr() for name, mark in memory.marks.items()}
    units = Units(**{n: addresses[n] for n, *_ in Units._fields_ if n in addresses})
    if "silences" in memory.marks:
        units.silence_lengths = memory.marks["silences"].shape[2]
    return Parameters(
        len(network.weights),
        network.kind.heads if network.kind else 1,
        ACTIVATIONS.index(network.activation),
        network.normalized,
        (ctypes.c_int64 * len(widths))(*widths),
        _pointers([n.weights if n else [] for n in networks]),
        _pointers([n.biases if n else [] for n in networks]),
        (ctypes.c_double * len(sizes))(*sizes) if sizes else None,
        addresses.get("directions"),
        units,
    )


def _pointers(kinds: list[list[Tensor]]) -> Any:
    """Return a C array with an entry for each kind: an array of a pointer per layer."""
    layers = ctypes.POINTER(ctypes.c_void_p)
    arrays = []
    for tensors in kinds:
        addresses = [tensor.data_ptr() for tensor in tensors]
        array = (ctypes.c_void_p * len(addresses))(*addresses)
        arrays.append(ctypes.cast(array, layers) if tensors else layers())
    return (layers * len(arrays))(*arrays)


def _check_images(network: Network, images: Tensor) -> Tensor:
    """Check the images, and return them as contiguous memory, which C needs."""
    inputs = network.weights[0].shape[1]
    if images.dtype != torch.uint8 or images.shape[1] != inputs:
        raise ValueError(f"each image must have {inputs} bytes, one per network input")
    return images.contiguous()


def _check_examples(
    network: Network, images: Tensor, positions: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Check what C does not check; return positions and labels as contiguous int64."""
    outputs = network.weights[-1].shape[2]
    for name, indices, stop in (
        ("positions", positions, len(images)),
        ("labels", labels, outputs),
    ):
        if indices.min() < 0 or indices.max() >= stop:
            raise ValueError(f"{name} must be at least 0 and below {stop}")
    return positions.long().contiguous(), labels.long().contiguous()
