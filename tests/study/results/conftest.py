"""Fixtures for the tests of storage."""

from __future__ import annotations

import pytest

from tests.support import chaos


@pytest.fixture(scope="module")
def bucket():
    """An object store on loopback, with the keys to it in the environment."""
    patch = pytest.MonkeyPatch()
    for name, value in chaos.KEYS.items():
        patch.setenv(name, value)
    bucket = chaos.Bucket()
    yield bucket
    bucket.close()
    patch.undo()
