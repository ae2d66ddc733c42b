"""Time the training steps of this project, and compare them with two other loops.

The two other loops are a usual PyTorch loop and the floor, which computes only the
matrix products of a step. All loops have networks of the same size.

A loop is called a contender. It is a function that makes some steps, and returns the
number of steps times the number of runs that are trained together. A shared machine is
sometimes slow. Therefore the ratio of two times is computed within each round, and the
table shows the median of the ratios. `time_settings` compares the smallest times
instead.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import attrs
import numpy as np
import torch
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from study.console import console
from study.plan.trials import hyperparameter_text
from trainables.bases import Adam
from trainables.data import DATASETS, Dataset, load
from trainables.data.examples import Examples
from trainables.networks import MLP, Conv
from trainables.optimizers import EPSILON, OPTIMIZERS, SGD
from trainables.run import ContinualRun
from trainables.setting import Setting

Contender = Callable[[], int]
# makes a contender from the setting, the number of seeds, the steps per call, the
# device and the data
Maker = Callable[[Setting, int, int, str, Dataset], Contender]
# the number of seeds, and a text: "floor", "usual sam", "jax sam", or a method's name
Name = tuple[int, str]
Result = TypeVar("Result")

ROUND_SECONDS = 0.1  # about how long each contender runs in a round
# the limits of the steps in a round; a real run prepares about 400 steps at a time
MIN_STEPS, MAX_STEPS = 4, 400
GPU_MIN_STEPS = 64  # as many as in a block on a GPU (`trainer.GPU_STEPS`)
DENORMAL = 1e-40  # a number below the normal range of float32


def digits() -> Dataset:
    """Return a dataset of MNIST's size, made by repeating the images of mnist-5k."""
    source = DATASETS["mnist"]
    return repeat_images(load("mnist-5k"), source.train, source.test)


def repeat_images(data: Dataset, train: int, test: int) -> Dataset:
    """Return a dataset named mnist: the images of `data`, repeated to these numbers."""
    return Dataset(
        "mnist",
        np.resize(data.train_images, (train, data.form.pixels)),
        np.resize(data.train_labels, train),
        np.resize(data.test_images, (test, data.form.pixels)),
        np.resize(data.test_labels, test),
    )


def products(
    setting: Setting, stack: int, steps: int, device: str, data: Dataset
) -> Contender:
    """Return the floor: a loop that computes only the matrix products of a step of SGD.

    The products are the forward pass, the backward pass through every layer except the
    first, and the update. One operation computes both the gradient and the update. The
    arrays lie in memory as in a real step. A convolution is the product of its kernels
    with the numbers that they read at each position.
    """
    kind, dense = setting.network or MLP(), [*setting.hidden, setting.outputs]
    layers = kind.layers(setting.form, dense)

    def arrays(name: str) -> list[Tensor]:
        return [
            torch.rand(
                *(stack, setting.batch_size * layer.positions, getattr(layer, name)),
                device=device,
            )
            for layer in layers
        ]

    inputs, input_errors = arrays("inputs"), arrays("inputs")
    outputs, errors = arrays("units"), arrays("units")
    # a network stores weights of shape (outputs, inputs), and uses their transpose
    weights = [
        torch.rand(stack, layer.units, layer.inputs, device=device).mT
        for layer in layers
    ]

    def contender() -> int:
        for _ in range(steps):
            for i, weight in enumerate(weights):
                torch.bmm(inputs[i], weight, out=outputs[i])
            for i in reversed(range(1, len(weights))):
                torch.bmm(errors[i], weights[i].mT, out=input_errors[i])
            for i, weight in enumerate(weights):
                weight.mT.baddbmm_(errors[i].mT, inputs[i], alpha=1e-9)
        return steps * stack

    return contender


def our_loop(
    setting: Setting, stack: int, steps: int, device: str, data: Dataset
) -> Contender:
    """Return a contender that trains as a real run of this project does.

    The contender shuffles examples, makes training steps and counts the correct
    answers. All moments of momentum and Adam start as denormal numbers, because the
    moments of always-black pixels are denormal late in the stream of a real run.
    """
    run = ContinualRun(setting, range(stack), data, device)
    for moment in run.stack.memory.moments.values():
        for tensor in moment.tensors():
            tensor.fill_(DENORMAL)
    random = np.random.default_rng(0)
    examples = []
    for _ in range(stack):
        rows = random.choice(len(data.train_labels), steps * setting.batch_size)
        examples.append(Examples(rows, data.train_labels[rows].astype(int)))

    def contender() -> int:
        run.train(examples)
        return steps * stack

    return contender


def usual_model(setting: Setting) -> nn.Sequential:
    """Return the network of one run in the layers of torch.nn."""
    layers: list[nn.Module] = []
    inputs = setting.form.pixels
    if isinstance(setting.network, Conv):
        for size in setting.network.convolutions(setting.form):
            kernel = size.rows, size.columns
            square = min(2, size.outputs[0]), min(2, size.outputs[1])
            layers += [nn.Conv2d(size.channels, size.units, kernel), nn.ReLU()]
            layers += [nn.MaxPool2d(square)]
            inputs = math.prod(size.pooled) * size.units
        layers += [nn.Flatten()]
    for outputs in (*setting.hidden, setting.outputs):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers[:-1])


def usual_loop(
    setting: Setting, stack: int, steps: int, device: str, data: Dataset
) -> Contender:
    """Return a contender with the PyTorch training loop that most people write.

    The loop trains a single run and ignores `stack`. It uses nn.Sequential,
    torch.optim.SGD, and a DataLoader over a TensorDataset of permuted images. If the
    optimizer has a rho, the loop is SAM as people usually write it: the second pass
    changes the parameters in place.
    """
    model = usual_model(setting).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=setting.optimizer.lr)
    random = np.random.default_rng(0)
    rows = random.choice(len(data.train_labels), steps * setting.batch_size)
    pixels = random.permutation(setting.form.pixels)
    images = torch.from_numpy(data.train_images[rows][:, pixels]).float() / 255
    if setting.network:
        form = setting.form
        images = images.view(-1, form.height, form.width, form.channels)
        images = images.permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(data.train_labels[rows].astype(int))
    dataset = torch.utils.data.TensorDataset(images.to(device), labels.to(device))
    loader = torch.utils.data.DataLoader(dataset, setting.batch_size, shuffle=True)

    def backward(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        logits: Tensor = model(x)
        nn.functional.cross_entropy(logits, y).backward()  # type: ignore[no-untyped-call]
        return logits

    def sam_gradient(x: Tensor, y: Tensor) -> None:
        """Replace the gradient with the gradient at SAM's perturbed weights."""
        parameters = list(model.parameters())
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = torch.stack([g.norm(2) for g in gradients]).norm(2)
        with torch.no_grad():
            moves = [g * (setting.optimizer.rho / (norm + EPSILON)) for g in gradients]
            for p, move in zip(parameters, moves, strict=True):
                p.add_(move)
        backward(x, y)
        with torch.no_grad():
            for p, move in zip(parameters, moves, strict=True):
                p.sub_(move)

    def contender() -> int:
        correct = torch.zeros((), device=device)
        with torch.enable_grad():
            for x, y in loader:
                logits = backward(x, y)
                if setting.optimizer.rho:
                    sam_gradient(x, y)
                optimizer.step()
                correct += (logits.argmax(1) == y).sum()
        return steps

    return contender


def timed(call: Callable[[], Result], device: str) -> tuple[float, Result]:
    """Call a function; return its seconds, including GPU work, and its result."""
    start = time.perf_counter()
    result = call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def methods(shape: Setting) -> dict[str, Setting]:
    """Return settings like `shape` by name.

    There is one per optimizer, plus "momentum" (SGD with momentum) and "adam" (Adam).
    """
    optimizers = {name: kind(lr=1e-3) for name, kind in OPTIMIZERS.items()}
    optimizers["momentum"] = SGD(lr=1e-3, momentum=0.9)
    settings = {
        name: attrs.evolve(shape, optimizer=o) for name, o in optimizers.items()
    }
    return settings | {"adam": attrs.evolve(settings["sgd"], base=Adam())}


METHODS = tuple(methods(Setting()))


def time_steps(
    shape: Setting,
    names: Sequence[str],
    stacks: list[int],
    rounds: int,
    device: str,
    data: Dataset,
    peers: Mapping[str, Maker] | None = None,
) -> list[dict[str, Any]]:
    """Time the steps of all contenders at one batch size.

    Args:
        shape: A setting with the batch size and the hidden layers.
        names: The methods to time, some of `METHODS`.
        stacks: How many seeds to train together.
        rounds: The number of rounds.
        device: cpu or cuda.
        data: A dataset of the size of MNIST.
        peers: For each other library, the function that makes its contender, by name.
            These contenders are timed with SGD, SAM and GNP only.

    Returns:
        A row for each contender: the batch size and the values of `summarize`.
    """
    settings = methods(shape)
    table: list[tuple[int, str, Maker, Setting]] = [
        (1, f"usual {name}", usual_loop, settings[name]) for name in ("sgd", "sam")
    ]
    for stack in stacks:
        table.append((stack, "floor", products, shape))
        table += [(stack, name, our_loop, settings[name]) for name in names]
        table += [
            (stack, f"{peer} {name}", make, settings[name])
            for peer, make in (peers or {}).items()
            for name in names
            if name in ("sgd", "sam", "gnp")
        ]
    contenders = {
        (stack, name): sized(make, setting, stack, device, data)
        for stack, name, make, setting in table
    }
    times = interleave(contenders, rounds, device)
    return [
        {"batch_size": shape.batch_size, **summarize(name, times)} for name in times
    ]


def time_settings(
    settings: Sequence[Setting], stack: int, rounds: int, device: str, data: Dataset
) -> list[dict[str, Any]]:
    """Time the steps of the settings of a study, and compare them with plain SGD.

    Return a row for SGD, then a row for each setting. A row has the name, the engine,
    the passes per step, the least and the median microseconds per step and run, and
    `of_sgd`. `of_sgd` is least / (least of SGD * passes): 1 means that each pass is as
    fast as in SGD.
    """
    plain = attrs.evolve(settings[0], optimizer=SGD(), base=None, intervention=None)
    named = {"sgd": plain}
    for setting in settings:
        row = attrs.evolve(setting, problem=plain.problem, dataset=data.name).row()
        named[f"{row['optimizer']} {hyperparameter_text(row)}"] = setting
    named = {name: attrs.evolve(s, dataset=data.name) for name, s in named.items()}
    contenders = {
        (stack, name): sized(our_loop, setting, stack, device, data)
        for name, setting in named.items()
    }
    times = interleave(contenders, rounds, device)
    least = {name: float(times[stack, name].min()) for name in named}
    rows = []
    for name, setting in named.items():
        passes = setting.optimizer.passes
        rows.append(
            {
                "name": name,
                "engine": ContinualRun(setting, [0], data, device).engine,
                "passes": passes,
                "least": least[name],
                "median": float(np.median(times[stack, name])),
                "of_sgd": least[name] / least["sgd"] / passes,
            }
        )
    return rows


def sized(
    make: Maker, setting: Setting, stack: int, device: str, data: Dataset
) -> Contender:
    """Return a contender that takes about `ROUND_SECONDS`."""
    least = GPU_MIN_STEPS if device == "cuda" else MIN_STEPS
    trial = make(setting, stack, least, device, data)
    trial()  # warm up
    seconds = timed(trial, device)[0] / least
    steps = min(MAX_STEPS, max(least, round(ROUND_SECONDS / seconds)))
    return make(setting, stack, steps, device, data)


def interleave(
    contenders: Mapping[Name, Contender], rounds: int, device: str
) -> dict[Name, np.ndarray]:
    """Time every contender in every round; return microseconds per step and run.

    An extra first round warms up the contenders, and its times are left out.
    """
    times: dict[Name, list[float]] = {name: [] for name in contenders}
    text = f"timing {len(contenders)} loops"
    for _ in track(range(rounds + 1), text, console=console, transient=True):
        for name, contender in contenders.items():
            seconds, steps = timed(contender, device)
            times[name].append(1e6 * seconds / steps)
    return {name: np.array(each[1:]) for name, each in times.items()}


def summarize(name: Name, times: Mapping[Name, np.ndarray]) -> dict[str, Any]:
    """Return the times of one contender over all rounds, and two ratios.

    The times median, least and most are in microseconds per step and run. Each ratio is
    computed in every round, and its median is returned:

    - of_floor: the floor's time divided by the contender's time. The floor's time
      counts once for each pass that the optimizer makes per step. None for the usual
      loop.
    - of_usual: the usual loop's time divided by the contender's time. The usual loop is
      that of SGD if the optimizer makes one pass per step, otherwise that of SAM. None
      for the floor and the usual loop.
    """
    (stack, kind), own = name, times[name]
    method = kind.split()[-1]  # "gnp" for this project's "gnp" and for "jax gnp"
    passes = OPTIMIZERS[method]().passes if method in OPTIMIZERS else 1
    of_floor = of_usual = None
    if not kind.startswith("usual"):
        of_floor = float(np.median(passes * times[stack, "floor"] / own))
        if kind != "floor":
            usual = times[1, "usual sgd" if passes == 1 else "usual sam"]
            of_usual = float(np.median(usual / own))
    return {
        "stack": stack,
        "name": kind,
        "median": float(np.median(own)),
        "least": float(own.min()),
        "most": float(own.max()),
        "of_floor": of_floor,
        "of_usual": of_usual,
    }


def settings_table(rows: list[dict[str, Any]]) -> Table:
    """Return a table of the result of `time_settings`."""
    columns = ("engine", "passes", "least us", "median us", "least / (SGD x passes)")
    table = Table("setting", *columns, box=None)
    for row in rows:
        numbers = (f"{row[name]:.1f}" for name in ("passes", "least", "median"))
        table.add_row(row["name"], row["engine"], *numbers, f"{row['of_sgd']:.2f}")
    return table


def step_table(steps: list[dict[str, Any]]) -> Table:
    """Return a table of the result of `time_steps`."""
    columns = ("batch", "stack", "what", "us per step and run", "least-most")
    table = Table(*columns, "floor / time", "usual loop / time", box=None)
    for step in steps:
        floor, usual = step["of_floor"], step["of_usual"]
        table.add_row(
            *(str(step[key]) for key in ("batch_size", "stack", "name")),
            f"{step['median']:.1f}",
            f"{step['least']:.1f}-{step['most']:.1f}",
            "" if floor is None else f"{floor:.2f}",
            "" if usual is None else f"{usual:.1f}",
        )
    return table
