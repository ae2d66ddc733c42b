"""CIFAR: files as the authors pickled them, with checksums of their own."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables.data import DATASETS, Dataset, load
from trainables.data.cifar import read_cifar
from trainables.data.dataset import MissingFile
from trainables.usage import UsageError


def kind_of(name: str) -> Any:
    """Return torchvision's class, whose import takes every worker seconds."""
    from torchvision.datasets import CIFAR10, CIFAR100

    return {"cifar-10": CIFAR10, "cifar-100": CIFAR100}[name]


def put(root: Path, name: str, images: np.ndarray, labels: list[int]) -> Any:
    """Write small files; return torchvision's class, with the checksums of these."""
    kind = kind_of(name)
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    # one row per image: all of red, all of green, all of blue
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    key = "labels" if name == "cifar-10" else "fine_labels"

    def write(file: str, content: dict[str, Any]) -> str:
        raw = pickle.dumps(content)
        (folder / file).write_bytes(raw)
        return hashlib.md5(raw).hexdigest()

    train = [
        [file, write(file, {"data": rows[i::2], key: labels[i::2]})]
        for i, file in enumerate(("data_batch_1", "data_batch_2"))
    ]
    test = [["test_batch", write("test_batch", {"data": rows[:1], key: labels[:1]})]]
    meta = dict(kind.meta)
    meta["md5"] = write(meta["filename"], {meta["key"]: ["one", "two"]})
    lists = {"train_list": train, "test_list": test, "meta": meta}
    return type("Small", (kind,), lists)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)


def read(name: str, root: Path, kind: Any) -> Dataset:
    return read_cifar(name, DATASETS[name].form, root, kind)


@pytest.mark.parametrize("name", ["cifar-10", "cifar-100"])
def test_a_pixel_is_where_height_width_and_channel_say(tmp_path, images, name):
    last = DATASETS[name].form.classes - 1
    kind = put(tmp_path, name, images, [0, 1, 2, last])
    data = read(name, tmp_path, kind)
    assert data.train_labels.tolist() == [0, 2, 1, last]  # the files, one after another
    assert data.test_labels.tolist() == [0]
    np.testing.assert_array_equal(
        data.train_images, images[[0, 2, 1, 3]].reshape(4, 3072)
    )
    for row, column, channel in ((0, 0, 2), (5, 7, 0), (31, 31, 1)):
        place = (row * 32 + column) * 3 + channel
        assert data.test_images[0, place] == images[0, row, column, channel]
    assert data.train_images.flags.c_contiguous


def test_the_mean_and_the_deviation_are_those_of_each_channel(tmp_path, images):
    images[..., 1] //= 2
    images[..., 2] = 17
    kind = put(tmp_path, "cifar-10", images, [0, 1, 2, 9])
    data = read("cifar-10", tmp_path, kind)
    pixels = images / 255
    mean, std = data.moments
    np.testing.assert_allclose(mean, pixels.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std[:2], pixels[..., :2].std((0, 1, 2)), rtol=1e-12)
    assert std[2] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("file", ["data_batch_2", "test_batch", "batches.meta"])
def test_a_damaged_or_missing_file_is_named(tmp_path, images, file):
    kind = put(tmp_path, "cifar-10", images, [0, 1, 2, 9])
    path = tmp_path / "cifar-10-batches-py" / file
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(UsageError, match=r"is damaged.*: download cifar-10-pyt") as bad:
        read("cifar-10", tmp_path, kind)
    assert str(bad.value).startswith(str(path))
    path.unlink()
    with pytest.raises(MissingFile, match=f"^there is no {file} in {path.parent}$"):
        read("cifar-10", tmp_path, kind)


def test_real_checksums_refuse_other_files(tmp_path, images):
    """The pickles are not even opened: opening a pickle can run any code."""
    put(tmp_path, "cifar-100", images, [0, 1, 2, 99])
    path = tmp_path / "cifar-100-python" / "train"
    path.write_bytes(b"not a pickle")
    with pytest.raises(
        UsageError, match="is damaged, because its MD5 checksum is wrong"
    ):
        load("cifar-100", tmp_path)


def test_a_missing_folder_is_named_with_what_to_do(tmp_path):
    words = (
        "^cifar-100: there is no folder cifar-100-python in .*: unpack the version for"
    )
    with pytest.raises(UsageError, match=words) as refusal:
        load("cifar-100", tmp_path)
    assert str(tmp_path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
