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
    assert {purpose: first(purpose, 5, 3, 2) for purpose in PURPOSES} == {
        "weights": 228310837732495205,
        "stream": 7367116418157319422,
        "order": 1669676285315188425,
        "probe": 7321647101714066630,
        "lanczos": 5998969213900665886,
        "hutchinson": 5324930349845681277,
        "perturb": 5921218059881190363,
        "head": 8914887655214002227,
        "replace": 4408024253455155197,
        "recycle": 3835588223998352051,
        "examples": 4809286284987093454,
        "labels": 3017157862051726815,
        "orientation": 7662207495963239226,
        "share": 548087007181567814,
        "silence": 4191228210921063304,
        "spectrum": 2913657288764260030,
        "play": 4281613020657152223,
        "goal": 2421328263991198888,
        "walk": 3361834333117352358,
    }


def test_an_unknown_purpose_is_an_error():
    with pytest.raises(KeyError):
        generator("batches", 0)
