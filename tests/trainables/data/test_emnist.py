"""EMNIST: its own file names, images that lie on their side, labels from 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.idx import write_idx
from trainables.data import DATASETS, load
from trainables.usage import UsageError


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)


def put(folder: Path, split: str, images: np.ndarray, labels: list[int]) -> None:
    """Write the four files as EMNIST has them: with rows and columns exchanged."""
    for part, (array, numbers) in {
        "train": (images, labels),
        "test": (images[::-1], labels[::-1]),
    }.items():
        stem = folder / f"emnist-{split}-{part}"
        write_idx(Path(f"{stem}-images-idx3-ubyte"), array.transpose(0, 2, 1), True)
        write_idx(Path(f"{stem}-labels-idx1-ubyte"), np.array(numbers), part == "test")


@pytest.mark.parametrize(
    ("name", "split", "labels", "place"),
    [
        ("emnist", "balanced", [0, 46, 9], "emnist"),
        ("emnist-letters", "letters", [1, 26, 9], "EMNIST/raw"),
    ],
)
def test_images_are_upright_and_labels_begin_at_0(
    tmp_path, images, name, split, labels, place
):
    put(tmp_path / place, split, images, labels)
    data = load(name, tmp_path)
    own = np.array(labels) - min(labels)
    assert data.form == DATASETS[name].form
    assert max(own) == data.form.classes - 1
    np.testing.assert_array_equal(data.train_images, images.reshape(3, 784))
    np.testing.assert_array_equal(data.test_images, images[::-1].reshape(3, 784))
    assert data.train_labels.tolist() == own.tolist()
    assert data.test_labels.tolist() == own[::-1].tolist()


@pytest.mark.parametrize(
    ("name", "split", "labels", "words"),
    [
        ("emnist", "balanced", [0, 47, 1], "has label 47: labels must be 0 to 46"),
        ("emnist-letters", "letters", [1, 0, 2], "has label 0: labels must be 1 to 26"),
        ("emnist", "balanced", [0, 1], "3 emnist-balanced-train images but 2 labels"),
    ],
)
def test_wrong_labels_are_refused(tmp_path, images, name, split, labels, words):
    put(tmp_path / "emnist", split, images, labels)
    with pytest.raises(UsageError, match=words) as refusal:
        load(name, tmp_path)
    assert f"{tmp_path / 'emnist'}" in str(refusal.value)
    assert "download the file" in str(refusal.value)


def test_a_missing_and_a_damaged_file_are_named(tmp_path, images):
    put(tmp_path / "emnist", "balanced", images, [0, 1, 2])
    path = tmp_path / "emnist" / "emnist-balanced-train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UsageError, match=r"1 bytes too few: download") as damaged:
        load("emnist", tmp_path)
    assert str(damaged.value).startswith(str(path))
    path.unlink()
    with pytest.raises(UsageError, match=f"emnist: there is no {path.name} .* put the"):
        load("emnist", tmp_path)
