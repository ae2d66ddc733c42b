"""Metadata of a records file: code, libraries and hardware, but no personal names."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path

from study.plan.machine import processor

# files that decide what a record contains
CODE = ("study", "trainables", "constraints.txt")

PACKAGES = ("plasticity-study", "torch", "numpy", "ray", "pyarrow")


def software() -> dict[str, str]:
    """Return the git commit and the versions of Python and packages."""
    versions = {name: _version(name) for name in PACKAGES}
    return {"commit": _commit(), "python": platform.python_version(), **versions}


@functools.cache
def hardware() -> dict[str, str]:
    """Return the models of processor and GPU, and how the steps in C are built."""
    import torch

    from trainables.steps import extension

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {"cpu": processor(), "gpu": gpu, **extension.facts()}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """Return the commit of this checkout, with '+' if its code has changed since.

    It is 'unknown' without git, or where the code is not a checkout.
    """
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    try:
        if not git("ls-files", "study/results/provenance.py"):
            return "unknown"
        # a cluster's nodes have only the code: missing tests are no change
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *CODE)
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except OSError:
        return "unknown"
