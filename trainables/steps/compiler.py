"""The C compiler of this machine, and what it made, kept between commands."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from trainables import cache

FLAGS = ("-O3", "-fno-fast-math", "-ffp-contract=fast", "-shared", "-fPIC")

TUNED = ("-march=native", "-mcpu=native")
"""How compilers are asked for all that this machine's processor can; the first that
works is taken."""

PATIENCE = 60
"""Seconds that a compiler may take; it takes about four."""

Command = tuple[str, ...]


@functools.cache
def commands() -> list[Command]:
    """Return the commands of C compilers: $CC, then the usual names, if they are there.

    There are none where PLASTICITY_ENGINE=torch stands in the environment.
    """
    if os.environ.get("PLASTICITY_ENGINE") == "torch":
        return []
    found = []
    for asked in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        with contextlib.suppress(ValueError):  # a quotation that does not end
            words = tuple(shlex.split(asked))
            if words and shutil.which(words[0]):
                found.append(words)
    return found


@functools.cache
def version(command: Command) -> str:
    """Return the first line of what a compiler says of itself.

    Raises:
        OSError: It cannot be started.
        SubprocessError: It says nothing.
    """
    said = subprocess.run(
        [*command, "--version"], capture_output=True, check=True, timeout=PATIENCE
    )
    return said.stdout.decode(errors="replace").partition("\n")[0]


def compiled(
    source: Path, flags: tuple[str, ...], is_right: Callable[[ctypes.CDLL], bool]
) -> tuple[ctypes.CDLL, str] | None:
    """Return a library of a C source, and what compiled it; None: it cannot be made.

    Args:
        source: One file.
        flags: Beside `FLAGS`.
        is_right: Tells whether what was made anew computes what it should.
    """
    for command in commands():
        for folder in _folders():
            for tuned in TUNED:
                told = (*FLAGS, tuned, *flags)
                try:
                    made = _kept(folder, source, command, told, is_right)
                    return made, version(command)
                except subprocess.TimeoutExpired:
                    return None
                except (OSError, subprocess.SubprocessError, AttributeError):
                    continue
    return None


def _folders() -> Iterator[Path]:
    """Yield where compiled code may be kept: between commands, else for this one."""
    with contextlib.suppress(RuntimeError):  # there is no home
        yield cache.folder()
    with tempfile.TemporaryDirectory() as folder:  # what is loaded outlives its file
        yield Path(folder)


def _kept(
    folder: Path,
    source: Path,
    command: Command,
    flags: tuple[str, ...],
    is_right: Callable[[ctypes.CDLL], bool],
) -> ctypes.CDLL:
    """Load what was compiled before, by the same compiler for the same processor.

    Raises:
        OSError: It cannot be compiled, kept or loaded, or computes something else.
        SubprocessError: It cannot be compiled.
        AttributeError: It lacks a function.
    """
    told = [source.read_text(), version(command), _processor(), *command, *flags]
    name = hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
    path = folder / f"{source.stem}-{name}.so"
    with contextlib.suppress(OSError):  # not there, or damaged
        if _is_own(path):
            return ctypes.CDLL(str(path))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as own:
        made = Path(own) / path.name
        words = [*command, *flags, "-o", str(made), str(source), "-lm"]
        subprocess.run(words, check=True, capture_output=True, timeout=PATIENCE)
        found = ctypes.CDLL(str(made))
        if not is_right(found):
            raise OSError(f"what {version(command)} made computes something else")
        made.replace(path)  # at once, whoever else compiles it now
    return found


def _is_own(path: Path) -> bool:
    """Tell whether nobody else can have put a file there."""
    held = path.stat()
    return held.st_uid == os.getuid() and not held.st_mode & 0o022


def _processor() -> str:
    """Return what tells processors apart: another one may lack an instruction."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    kinds = ("model name", "flags", "Features", "CPU part")
    said = sorted({line for line in lines if line.startswith(kinds)})
    return "\n".join([platform.machine(), platform.processor(), *said])
