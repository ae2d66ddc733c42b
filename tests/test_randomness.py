"""Generators: one for each purpose and place, and none for two."""

from __future__ import annotations

import itertools

import pytest

from trainables.randomness import PURPOSES, SEEDS, generator


def first(*place) -> int:
    return int(generator(*place).integers(2**63))


def test_every_place_has_numbers_of_its_own():
    places = list(
        itertools.product(PURPOSES, (0, 1, 2, SEEDS - 1), (0, 1, 7), (0, 1, 7))
    )
    assert len({first(*place) for place in places}) == len(places)


def test_the_numbers_are_the_same_again():
    assert first("order", 3, 1, 4) == first("order", 3, 1, 4)
    assert first("order", 3, 1) == first("order", 3, 1, 0)


def test_the_numbers_do_not_change_by_themselves():
    assert [first(purpose, 5, 3, 2) for purpose in PURPOSES] == [
        228310837732495205,
        7367116418157319422,
        1669676285315188425,
        7321647101714066630,
    ]


def test_an_unknown_purpose_is_an_error():
    with pytest.raises(KeyError):
        generator("batches", 0)
