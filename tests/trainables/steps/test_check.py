"""A library that computes anything wrong is refused before a run uses it."""

from __future__ import annotations

import pytest
import torch

from trainables.steps import check, extension
from trainables.steps.extension import Hyperparameters, Library, Unavailable

REAL = extension.load("float32")


class Saboteur:
    """The C functions with one mistake each in what they are given and return."""

    def __init__(self, given=lambda *arguments: None, returned=lambda sums: None):
        self.given, self.returned = given, returned

    def train(self, parameters, batches, hyperparameters, sums):
        self.given(parameters, batches, hyperparameters)
        status = REAL.functions.train(parameters, batches, hyperparameters, sums)
        self.returned(sums)
        return status

    test = REAL.functions.test
    convolution_scratch = REAL.functions.convolution_scratch
    convolve = REAL.functions.convolve
    convolve_back = REAL.functions.convolve_back


class BrokenConvolution(Saboteur):
    def convolve(self, sizes, *arrays):
        sizes.is_linear = 1  # no ReLU
        REAL.functions.convolve(sizes, *arrays)


class BrokenTest(Saboteur):
    def test(self, parameters, batches, sums):
        status = REAL.functions.test(parameters, batches, sums)
        self.returned(sums)
        return status

    train = REAL.functions.train


def lose(sums):
    sums.loss *= 1.01


def miscount(sums):
    sums.correct += 1


def twice(name: str, place: int = 2):
    """Change one number that the C functions are given."""

    def change(*arguments):
        setattr(arguments[place], name, 2 * getattr(arguments[place], name) + 0.01)

    return Saboteur(change)


def halve(noise):
    """Change the size of the noise of the first layer."""
    if noise:
        noise[0] /= 2


def forget(name: str):
    return Saboteur(lambda parameters, *_: setattr(parameters, name, 0))


MISTAKES = {
    **{
        name: twice(name)
        for name, _ in Hyperparameters._fields_
        if name not in ("epsilon", "method")
    },
    "noise": Saboteur(lambda parameters, *_: halve(parameters.noise)),
    "method": Saboteur(lambda *arguments: setattr(arguments[2], "method", 0)),
    "low": twice("low", 1),
    "activation": forget("activation"),
    "is_normalized": forget("is_normalized"),
    "training loss": Saboteur(returned=lose),
    "training count": Saboteur(returned=miscount),
    "convolution": BrokenConvolution(),
    "test loss": BrokenTest(returned=lose),
    "test count": BrokenTest(returned=miscount),
}


@pytest.fixture
def load(monkeypatch):
    """Load a library whose functions are replaced."""

    def load_functions(functions):
        library = Library("avx2", "gcc", functions)
        monkeypatch.setattr(extension, "load", lambda dtype: library)
        return check.load(torch.float32)

    check.load.cache_clear()
    yield load_functions
    check.load.cache_clear()


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found(name, load, monkeypatch):
    # each mistake is in batches of all sizes
    monkeypatch.setattr(check, "BATCHES", (3,))
    # check first what has the hyperparameter, to save time
    cases = check.CASES.items()
    cases = sorted(cases, key=lambda case: case[1].row().get(name) is None)
    monkeypatch.setattr(check, "CASES", dict(cases))
    with pytest.raises(Unavailable, match="computes wrong results"):
        load(MISTAKES[name])


def test_without_a_mistake_the_library_is_used(load):
    assert load(Saboteur()).instruction_set == "avx2"


def test_double_precision_is_checked_too():
    assert check.load(torch.float64) is extension.load(torch.float64)
