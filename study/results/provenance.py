"""What made a file of records: code, libraries and hardware, and no names of people."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path

CODE = ("study", "trainables", "constraints.txt")
"""What makes records."""

PACKAGES = ("plasticity-study", "torch", "numpy", "ray", "pyarrow")


def software() -> dict[str, str]:
    """Return the git commit, if the code is a checkout, and the versions."""
    versions = {name: _version(name) for name in PACKAGES}
    return {"commit": _commit(), "python": platform.python_version(), **versions}


@functools.cache
def hardware() -> dict[str, str]:
    """Return the processor's and the GPU's model, and the steps' C compiler."""
    import torch

    from trainables.steps import native

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {"cpu": processor(), "gpu": gpu, "c_compiler": native.compiled_by()}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """Return the commit of this checkout, with '+' if its code has changed since."""
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    try:
        if not git("ls-files", "study/results/provenance.py"):
            return "unknown"
        # a cluster's nodes have the code, and not the tests
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *CODE)
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except OSError:
        return "unknown"


def processor() -> str:
    """Return the processor's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [n.partition(":")[2].strip() for n in lines if "model name" in n]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
