"""The C extension: find the library for this processor and declare its functions.

If there is a C compiler, `pip install` builds one library per instruction set and
floating-point type (`setup.py`). The structs are copies of those in `c/steps.h`. This
module does not import torch.
"""

from __future__ import annotations

import ctypes
import functools
import sysconfig
from ctypes import POINTER, c_double, c_int64, c_void_p
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent

INSTRUCTION_SETS = ("avx512", "avx2", "neon")
"""The fastest instruction set comes first."""


class Parameters(ctypes.Structure):
    """One network, with arrays of one pointer per layer."""

    _fields_ = (
        ("layers", c_int64),
        ("widths", POINTER(c_int64)),
        ("weights", POINTER(c_void_p)),
        ("biases", POINTER(c_void_p)),
        ("weight_velocities", POINTER(c_void_p)),
        ("bias_velocities", POINTER(c_void_p)),
    )


class Batches(ctypes.Structure):
    """Batches of examples, which start `stride` elements apart."""

    _fields_ = (
        *((name, c_int64) for name in ("steps", "batch", "stride")),
        *((name, c_void_p) for name in ("images", "positions", "labels")),
    )


class Hyperparameters(ctypes.Structure):
    """An optimizer's hyperparameters."""

    _fields_ = tuple(
        (name, c_double)
        for name in ("lr", "weight_decay", "momentum", "rho", "alpha", "epsilon")
    )


class Sums(ctypes.Structure):
    """The sums of the losses and of the correct predictions over all examples."""

    _fields_ = (("loss", c_double), ("correct", c_double))


STRUCTS = (Parameters, Batches, Hyperparameters, Sums)


class Unavailable(Exception):
    """The extension cannot be used here. The message says why and what to do."""


class Library(NamedTuple):
    """A library of the C steps for one floating-point type."""

    instruction_set: str  # one of `INSTRUCTION_SETS`
    compiler: str  # the compiler's name and version, as "gcc 12.2.0"
    functions: ctypes.CDLL  # `train` and `test` of `c/steps.h`


@functools.cache
def load(dtype: object) -> Library:
    """Return the fastest library for this processor.

    `dtype` is a torch dtype or its name.

    Raises:
        Unavailable: There is no library, or no library runs on this processor.
    """
    kind = str(dtype).removeprefix("torch.") + sysconfig.get_config_var("EXT_SUFFIX")
    built = [n for n in INSTRUCTION_SETS if (FOLDER / f"_native_{n}_{kind}").exists()]
    if not built:
        raise Unavailable(
            "the C extension is not built: install a C compiler, then reinstall"
        )
    for name in built:
        try:
            functions = ctypes.CDLL(str(FOLDER / f"_native_{name}_{kind}"))
        except OSError as error:
            raise Unavailable(
                f"the C extension cannot be loaded ({error}): install it again"
            ) from error
        sizes = (c_int64 * len(STRUCTS)).in_dll(functions, "struct_sizes")
        if list(sizes) != [ctypes.sizeof(struct) for struct in STRUCTS]:
            raise Unavailable(
                "the C extension is of another version: install this package again"
            )
        if functions.is_supported():
            pointers = [POINTER(struct) for struct in STRUCTS]
            functions.train.argtypes = pointers
            functions.test.argtypes = [pointers[0], pointers[1], pointers[3]]
            text = (ctypes.c_char * 80).in_dll(functions, "compiler")
            return Library(name, text.value.decode(), functions)
    raise Unavailable(f"the C extension needs a processor with {' or '.join(built)}")


def facts() -> dict[str, str]:
    """Return the compiler and the instruction set for the records' metadata.

    The values are "none" if the extension cannot be used.
    """
    try:
        instruction_set, compiler, _ = load("float32")
    except Unavailable:
        instruction_set = compiler = "none"
    return {"c_compiler": compiler, "instruction_set": instruction_set}
