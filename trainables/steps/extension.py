"""The C extension: finds the build for this processor, and declares its functions.

`pip install` builds a library per instruction set and type (`setup.py`), if there is a
C compiler. The structs are those of `c/steps.h`. No torch is needed here.
"""

from __future__ import annotations

import ctypes
import functools
import sysconfig
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent

INSTRUCTION_SETS = ("avx512", "avx2", "neon")
"""The best comes first."""

_Pointer = ctypes.c_void_p
_Pointers = ctypes.POINTER(ctypes.c_void_p)


class Parameters(ctypes.Structure):
    """One network; arrays of one pointer per layer."""

    _fields_ = (
        ("layers", ctypes.c_int64),
        ("widths", ctypes.POINTER(ctypes.c_int64)),
        ("weights", _Pointers),
        ("biases", _Pointers),
        ("weight_velocities", _Pointers),
        ("bias_velocities", _Pointers),
    )


class Batches(ctypes.Structure):
    """Batches of examples, `stride` elements apart."""

    _fields_ = (
        ("steps", ctypes.c_int64),
        ("batch", ctypes.c_int64),
        ("stride", ctypes.c_int64),
        ("images", _Pointer),
        ("positions", _Pointer),
        ("labels", _Pointer),
    )


class Hyperparameters(ctypes.Structure):
    """An optimizer's hyperparameters."""

    _fields_ = tuple(
        (name, ctypes.c_double)
        for name in ("lr", "weight_decay", "momentum", "rho", "alpha", "epsilon")
    )


class Sums(ctypes.Structure):
    """Sums over all examples."""

    _fields_ = (("loss", ctypes.c_double), ("correct", ctypes.c_double))


STRUCTS = (Parameters, Batches, Hyperparameters, Sums)


class Unavailable(Exception):
    """The extension cannot be used here; the text says why, and what to do."""


class Library(NamedTuple):
    """A build of the C steps, for one type.

    Attributes:
        instruction_set: One of `INSTRUCTION_SETS`.
        compiler: Its name and version, as "gcc 12.2.0".
        functions: `train` and `test` of `c/steps.h`.
    """

    instruction_set: str
    compiler: str
    functions: ctypes.CDLL


@functools.cache
def load(dtype: object) -> Library:
    """Return the best build for this processor.

    Args:
        dtype: torch.float32 or torch.float64, or its name.

    Raises:
        Unavailable: No library is built, or none fits this processor.
    """
    kind = str(dtype).removeprefix("torch.") + sysconfig.get_config_var("EXT_SUFFIX")
    built = [n for n in INSTRUCTION_SETS if (FOLDER / f"_native_{n}_{kind}").exists()]
    if not built:
        raise Unavailable(
            "the C extension is not built: install a C compiler, then install again"
        )
    for name in built:
        try:
            functions = ctypes.CDLL(str(FOLDER / f"_native_{name}_{kind}"))
        except OSError as error:
            raise Unavailable(
                f"the C extension does not load: install again ({error})"
            ) from error
        _declare(functions)
        if functions.is_supported():
            text = (ctypes.c_char * 80).in_dll(functions, "compiler")
            return Library(name, text.value.decode(), functions)
    raise Unavailable(f"the C extension needs a processor with {' or '.join(built)}")


def _declare(functions: ctypes.CDLL) -> None:
    """Declare the arguments; refuse a library that was built from older sources."""
    sizes = (ctypes.c_int64 * len(STRUCTS)).in_dll(functions, "struct_sizes")
    if list(sizes) != [ctypes.sizeof(struct) for struct in STRUCTS]:
        raise Unavailable("the C extension is of an older version: install again")
    pointers = [ctypes.POINTER(struct) for struct in STRUCTS]
    functions.train.argtypes = pointers
    functions.test.argtypes = [pointers[0], pointers[1], pointers[3]]


def facts() -> dict[str, str]:
    """Return the compiler and the instruction set, or "none", for the records."""
    try:
        library = load("float32")
    except Unavailable:
        return {"c_compiler": "none", "instruction_set": "none"}
    return {
        "c_compiler": library.compiler,
        "instruction_set": library.instruction_set,
    }
