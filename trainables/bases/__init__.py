"""Bases: rules, other than SGD, that turn the gradient of an optimizer into a step."""

from trainables.bases.adam import Adam

BASES: dict[str, type[Adam]] = {
    "adam": Adam,
}

__all__ = ["BASES", "Adam"]
