"""Tiny ImageNet: JPEG files in a folder per class, and a list of test images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.data import load
from trainables.data.dataset import MissingFile
from trainables.data.tiny_imagenet import read_tiny_imagenet
from trainables.problems import Form
from trainables.usage import UsageError

WNIDS = ["n02", "n01", "n03"]
FORM = Form(64, 64, 3, 3)
COLORS = {"n02": (200, 20, 20), "n01": (20, 200, 20), "n03": (90, 90, 90)}


def put(folder: Path) -> Path:
    """Write two training images and one test image of each class."""
    root = folder / "tiny-imagenet-200"
    (root / "val" / "images").mkdir(parents=True)
    (root / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    lines = []
    for wnid in WNIDS:
        images = root / "train" / wnid / "images"
        images.mkdir(parents=True)
        image = Image.new("RGB", (64, 64), COLORS[wnid])
        if wnid == "n03":  # some of the real images are grey
            image = image.convert("L")
        for number in (0, 1):
            image.save(images / f"{wnid}_{number}.JPEG")
        file = f"val_{9 - len(lines)}.JPEG"
        image.save(root / "val" / "images" / file)
        lines.append(f"{file}\t{wnid}\t0\t32\t44\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return put(tmp_path)


def refused(root: Path, *words: object) -> None:
    with pytest.raises(UsageError) as refusal:
        read_tiny_imagenet("tiny-imagenet", FORM, root.parent)
    assert "\n" not in str(refusal.value)
    for word in (*words, "unpack tiny-imagenet-200.zip again"):
        assert str(word) in str(refusal.value)


def test_images_and_labels_are_read(root):
    data = read_tiny_imagenet("tiny-imagenet", FORM, root.parent)
    assert data.train_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.test_labels.tolist() == [0, 1, 2]
    for images, labels in (
        (data.train_images, data.train_labels),
        (data.test_images, data.test_labels),
    ):
        colors = np.array([COLORS[WNIDS[label]] for label in labels])
        pixels = images.reshape(-1, 64, 64, 3).astype(int)
        assert np.abs(pixels - colors[:, None, None]).max() <= 3  # JPEG rounds colors


def test_a_missing_image_is_counted(root):
    (root / "train" / "n01" / "images" / "n01_1.JPEG").unlink()
    refused(root, root / "train", "1 images of the class n01, but 2 of another class")


def test_a_missing_test_image_and_an_unknown_class_are_named(root):
    file = root / "val" / "images" / "val_9.JPEG"
    file.unlink()
    refused(root, file, "cannot be read")
    annotations = root / "val" / "val_annotations.txt"
    annotations.write_text(annotations.read_text().replace("n03", "n04"))
    refused(root, annotations, "has the class 'n04', which is not in wnids.txt")
    annotations.write_bytes(b"\xff\n")
    refused(root, annotations, "has the class '', which is not in wnids.txt")


def test_a_damaged_image_is_named(root):
    file = root / "train" / "n02" / "images" / "n02_1.JPEG"
    raw = file.read_bytes()
    for damaged in (bytes(len(raw)), raw[: len(raw) // 2]):
        file.write_bytes(damaged)
        refused(root, file, "cannot be read")
    Image.new("RGB", (64, 32)).save(file)
    refused(root, file, "has 32 x 64 pixels, not 64 x 64")


def test_a_list_of_too_few_classes_is_refused(root):
    (root / "wnids.txt").write_text("n02\n")
    refused(root, root / "wnids.txt", "has 1 classes, not 3")


def test_missing_files_are_named_with_what_to_do(root, monkeypatch):
    monkeypatch.delenv("PLASTICITY_DATA", raising=False)
    (root / "val" / "val_annotations.txt").unlink()
    with pytest.raises(MissingFile, match=r"there is no .*val_annotations"):
        read_tiny_imagenet("tiny-imagenet", FORM, root.parent)
    (root / "wnids.txt").unlink()
    with pytest.raises(UsageError, match=f"no {root / 'wnids.txt'}: .* 1.4 GB"):
        load("tiny-imagenet", root.parent)
    with pytest.raises(UsageError, match="no folder with its files is given: unpack"):
        load("tiny-imagenet")
