"""The metadata of a file: versions and hardware, but no personal names."""

from __future__ import annotations

import getpass
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import torch

from study.results.provenance import hardware, software

HERE = Path(__file__).resolve().parents[3]


def test_versions_are_those_installed():
    said = software()
    for name in ("torch", "ray", "numpy", "pyarrow"):
        assert said[name] == importlib.metadata.version(name)
    assert said["python"] == ".".join(map(str, sys.version_info[:3]))


def test_the_commit_is_gits():
    head = subprocess.run(
        ["git", "-C", HERE, "rev-parse", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    expected = rf"{head}\+?" if head else "unknown"
    assert re.fullmatch(expected, software()["commit"])


def test_without_git_the_commit_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert software()["commit"] == "unknown"


def test_hardware_is_named():
    said = hardware()
    assert said["cpu"]
    assert (said["gpu"] == "none") == (not torch.cuda.is_available())


def test_nobody_is_named():
    text = " ".join([*software().values(), *hardware().values()])
    assert os.uname().nodename not in text
    assert str(Path.home()) not in text
    assert not re.search(rf"\b{re.escape(getpass.getuser())}\b", text)
