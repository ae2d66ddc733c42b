"""Bases: what makes a step of an optimizer's gradient, in place of SGD's own."""

from trainables.bases.adam import Adam

BASES: dict[str, type[Adam]] = {
    "adam": Adam,
}

__all__ = ["BASES", "Adam"]
