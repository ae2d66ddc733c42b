"""Bases: rules that turn the gradient of an optimizer into a step, instead of SGD."""

from trainables.bases.adam import Adam

BASES: dict[str, type[Adam]] = {
    "adam": Adam,
}

__all__ = ["BASES", "Adam"]
