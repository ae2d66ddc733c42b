"""Datasets: real digits, IDX files and what is wrong with them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tests.support.idx import to_idx, write_idx
from trainables.data import DATASETS, Dataset, datasets, idx, load
from trainables.data.dataset import Source
from trainables.data.idx import MNIST_SHA256, TORCHVISION
from trainables.problems import Form
from trainables.usage import UsageError

PARTS = tuple(MNIST_SHA256)

TRAIN, TEST = 30, 10
"""Examples in the files made here."""


def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    made = {}
    for kind, n in (("train", TRAIN), ("t10k", TEST)):
        made[f"{kind}-images"] = random.integers(0, 256, (n, 28, 28))
        made[f"{kind}-labels"] = np.arange(n) % 10
    return made


def file_of(part: str) -> str:
    return f"{part}-idx{3 if part.endswith('images') else 1}-ubyte"


def write(folder: Path, zipped: bool = False, **changes: np.ndarray) -> Path:
    for part, array in (arrays() | changes).items():
        write_idx(folder / file_of(part), array, zipped)
    return folder


def refused(name: str, root: Path | None, *words: object) -> None:
    """Check that loading fails with one line that has these words."""
    with pytest.raises(UsageError) as refusal:
        load(name, root)
    assert "\n" not in str(refusal.value)
    for word in words:
        assert str(word) in str(refusal.value)


@pytest.fixture(autouse=True)
def _no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PLASTICITY_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "DEBIAN", tmp_path / "debian")


# ---- what is there


def test_mnist_5k_is_5000_real_digits(digits):
    for labels, count in ((digits.train_labels, 429), (digits.test_labels, 71)):
        assert np.bincount(labels).tolist() == [count] * 10
    for images, count in ((digits.train_images, 4290), (digits.test_images, 710)):
        assert images.shape == (count, 784)
        assert images.dtype == np.uint8
        assert (images.min(), images.max()) == (0, 255)
    together = np.concatenate([digits.train_images, digits.test_images])
    assert len(np.unique(together, axis=0)) == 5000
    # digits, not noise: a one has less ink than a zero
    ink = [digits.train_images[digits.train_labels == d].mean() for d in (0, 1)]
    assert ink[0] > 2 * ink[1]


def test_the_mean_and_the_deviation_are_those_of_the_training_images(digits):
    pixels = digits.train_images / 255
    mean, std = digits.moments
    np.testing.assert_allclose(mean, [pixels.mean()], rtol=1e-12)
    np.testing.assert_allclose(std, [pixels.std()], rtol=1e-12)


def test_sizes_are_known_without_reading(digits):
    source = DATASETS["mnist-5k"]
    assert (source.train, source.test) == (
        len(digits.train_labels),
        len(digits.test_labels),
    )


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("fashion-mnist", "fashion-mnist"),
        ("fashion-mnist", "FashionMNIST/raw"),
        ("kmnist", "kmnist"),
        ("kmnist", "KMNIST/raw"),
    ],
)
def test_idx_files_are_read(tmp_path, name, place, zipped):
    write(tmp_path / place, zipped)
    data = load(name, tmp_path)
    made = arrays()
    assert data.name == name
    np.testing.assert_array_equal(
        data.train_images, made["train-images"].reshape(TRAIN, 784)
    )
    np.testing.assert_array_equal(data.train_labels, made["train-labels"])
    np.testing.assert_array_equal(
        data.test_images, made["t10k-images"].reshape(TEST, 784)
    )
    np.testing.assert_array_equal(data.test_labels, made["t10k-labels"])


def test_the_environment_names_the_folder(tmp_path, monkeypatch):
    write(tmp_path / "kmnist")
    monkeypatch.setenv("PLASTICITY_DATA", str(tmp_path))
    assert len(load("kmnist").train_labels) == TRAIN
    assert len(load("kmnist", str(tmp_path)).train_labels) == TRAIN


def test_an_installed_debian_package_is_read_without_a_folder(tmp_path, monkeypatch):
    write(tmp_path / "debian" / "fashion-mnist", zipped=True)
    assert len(load("fashion-mnist").train_labels) == TRAIN
    monkeypatch.setenv("PLASTICITY_DATA", str(tmp_path))  # a folder comes first
    refused("fashion-mnist", None, "Debian's package dataset-fashion-mnist")


def fake_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the files made here be MNIST's."""
    for part in PARTS:
        digest = hashlib.sha256(to_idx(arrays()[part])).hexdigest()
        monkeypatch.setitem(idx.MNIST_SHA256, part, digest)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("place", ["mnist", "MNIST/raw", "."])
def test_mnist_is_known_by_its_checksum(tmp_path, monkeypatch, place, zipped):
    fake_mnist(monkeypatch)
    write(tmp_path / place, zipped)
    data = load("mnist", tmp_path)
    assert isinstance(data, Dataset)
    assert (data.name, len(data.train_labels)) == ("mnist", TRAIN)


# ---- what is wrong


def test_an_unknown_dataset_is_refused(tmp_path):
    refused("mnst", tmp_path, "unknown dataset 'mnst': did you mean 'mnist'?")


def test_a_folder_that_is_none_is_refused(tmp_path):
    refused(
        "kmnist", tmp_path / "no", tmp_path / "no", "is not a folder: set --data-dir"
    )
    (tmp_path / "file").write_bytes(b"")
    refused("kmnist", tmp_path / "file", tmp_path / "file", "is not a folder")


@pytest.mark.parametrize("name", TORCHVISION)
@pytest.mark.parametrize("part", PARTS)
def test_a_missing_file_is_named(tmp_path, name, part, monkeypatch):
    fake_mnist(monkeypatch)
    folder = write(tmp_path / TORCHVISION[name] / "raw")
    if name != "mnist":
        monkeypatch.setattr(idx, "MNIST_SHA256", dict.fromkeys(PARTS, ""))
    (folder / file_of(part)).unlink()
    refused(name, tmp_path, file_of(part), tmp_path, "put the four IDX files into")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_file_cut_in_half_is_refused(tmp_path, part, zipped):
    folder = write(tmp_path / "kmnist", zipped)
    path = folder / (file_of(part) + ".gz" * zipped)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    refused("kmnist", tmp_path, path, "download the file again")


@pytest.mark.parametrize("keep", [0, 3, 4, 7])
def test_a_file_without_a_whole_header_is_refused(tmp_path, keep):
    path = write(tmp_path / "kmnist") / file_of("train-images")
    path.write_bytes(path.read_bytes()[:keep])
    refused("kmnist", tmp_path, path, "not an IDX file of 28 x 28 images")


def test_bytes_too_few_or_too_many_are_counted(tmp_path):
    path = write(tmp_path / "kmnist") / file_of("t10k-labels")
    raw = path.read_bytes()
    path.write_bytes(raw[:-3])
    refused("kmnist", tmp_path, path, "is damaged: it has 3 bytes too few: download")
    path.write_bytes(raw + b"12")
    refused("kmnist", tmp_path, path, "it has 2 bytes too many")


def test_damaged_compression_is_refused(tmp_path):
    path = write(tmp_path / "kmnist", zipped=True) / (file_of("train-images") + ".gz")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)
    refused("kmnist", tmp_path, path, "cannot be read", "download the file again")
    path.write_bytes(b"<html>404 not found</html>")
    refused("kmnist", tmp_path, path, "cannot be read", "download the file again")


def test_another_kind_of_file_is_refused(tmp_path):
    folder = write(tmp_path / "kmnist")
    path = folder / file_of("train-images")
    good = path.read_bytes()
    path.write_bytes(b"\x89PNG" + good[4:])
    refused("kmnist", tmp_path, path, "not an IDX file of 28 x 28 images")
    path.write_bytes((folder / file_of("train-labels")).read_bytes())
    refused(
        "kmnist",
        tmp_path,
        path,
        "not an IDX file of 28 x 28 images",
        "download the file again",
    )
    path.write_bytes(good)
    labels = folder / file_of("t10k-labels")
    labels.write_bytes(good)
    refused("kmnist", tmp_path, labels, "not an IDX file of labels")


def test_images_and_labels_must_be_as_many(tmp_path):
    write(tmp_path / "kmnist", **{"train-labels": np.zeros(TRAIN - 1)})
    words = (
        f"kmnist has {TRAIN} train images but {TRAIN - 1} labels: download the files"
    )
    refused("kmnist", tmp_path, tmp_path, words)


def test_images_must_be_28_by_28(tmp_path):
    folder = write(tmp_path / "kmnist", **{"train-images": np.zeros((TRAIN, 32, 28))})
    path = folder / file_of("train-images")
    refused("kmnist", tmp_path, path, "images of 32 x 28 pixels, not of 28 x 28")


def test_labels_must_be_digits(tmp_path):
    folder = write(tmp_path / "kmnist", **{"t10k-labels": np.arange(TEST) + 1})
    path = folder / file_of("t10k-labels")
    refused("kmnist", tmp_path, path, "has label 10: labels must be 0 to 9")


@pytest.mark.parametrize("name", ["fashion-mnist", "kmnist"])
def test_mnist_under_another_name_is_refused(tmp_path, name, monkeypatch):
    fake_mnist(monkeypatch)
    folder = write(tmp_path / name)
    path = folder / file_of("train-images")
    refused(
        name,
        tmp_path,
        path,
        "checksum of its unpacked content is the checksum of MNIST's file: download",
    )


def test_another_under_mnists_name_is_refused(tmp_path):
    path = write(tmp_path / "mnist") / file_of("train-images")
    refused(
        "mnist",
        tmp_path,
        path,
        "checksum of its unpacked content is not the checksum of MNIST's file",
    )


def test_files_of_no_name_are_only_mnists(tmp_path):
    """All three have the same file names, so a bare folder may hold any of them."""
    write(tmp_path)
    refused("kmnist", tmp_path, "no train-images-idx3-ubyte", tmp_path / "kmnist")


# ---- what is downloaded


def test_a_download_is_kept_and_read(tmp_path, monkeypatch):
    import torchvision.datasets

    def download(root, download):
        assert download
        write(Path(root) / "KMNIST" / "raw")

    monkeypatch.setattr(torchvision.datasets, "KMNIST", download)
    assert len(load("kmnist").train_labels) == TRAIN
    assert (tmp_path / "cache" / "plasticity-study" / "KMNIST" / "raw").is_dir()


@pytest.mark.parametrize(
    "error", [RuntimeError("Error downloading x\nmore"), OSError(101, "unreachable")]
)
def test_a_download_that_fails_says_what_to_do(monkeypatch, error):
    import torchvision.datasets

    def download(root, download):
        raise error

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", download)
    with pytest.raises(UsageError) as refusal:
        load("fashion-mnist")
    message = str(refusal.value)
    assert message.startswith("fashion-mnist could not be downloaded (")
    assert "--data-dir" in message
    assert "mnist-5k, which needs no download" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("images", "labels", "word"),
    [
        (np.zeros((3, 4), np.float32), [0, 1, 2], "the images are float32"),
        (np.zeros((3, 2, 2), np.uint8), [0, 1, 2], "must be uint8 of shape (3, 4)"),
        (np.zeros((3, 3), np.uint8), [0, 1, 2], "of shape (3, 3)"),
        (np.zeros((3, 4), np.uint8), [1, 2, 3], "the labels are from 1 to 3"),
    ],
)
def test_a_dataset_of_another_form_is_refused(images, labels, word, monkeypatch):
    """Without the check, examples with a label that is no class were left out."""
    made = Dataset("new", images, np.array(labels), images, np.array(labels))
    source = Source(lambda *_: made, 3, 3, Form(2, 2, 1, 3))
    monkeypatch.setitem(DATASETS, "new", source)
    refused("new", None, word)
