"""Metadata of a records file: versions of code and libraries, and the hardware.

The metadata has no personal names.
"""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path

from study.plan.machine import processor

# the folders and files whose changes can change a record
CODE = ("study", "trainables", "constraints.txt")

PACKAGES = ("plasticity-study", "torch", "numpy", "ray", "pyarrow")


def software() -> dict[str, str]:
    """Return the git commit of this code and the versions of Python and packages."""
    versions = {name: _version(name) for name in PACKAGES}
    return {"commit": _commit(), "python": platform.python_version(), **versions}


@functools.cache
def hardware() -> dict[str, str]:
    """Return the processor, the GPU, the C compiler and the instruction set.

    The compiler and the instruction set are those of the training steps in C.
    """
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
    """Return the git commit of this code, with '+' if the code has changed since.

    Return 'unknown' if git is not installed or the code is not a git checkout.
    """
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    try:
        if not git("ls-files", "study/results/provenance.py"):
            return "unknown"
        # look only at CODE: the nodes of a cluster have no tests and no docs
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *CODE)
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except OSError:
        return "unknown"
