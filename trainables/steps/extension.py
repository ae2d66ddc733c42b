"""The C extension: find the library for this processor and declare its functions.

If there is a C compiler, `pip install` builds one library per instruction set and
floating-point type (see `setup.py`). The structs in this module must equal the structs
in `c/steps.h`. This module does not import torch.
"""

from __future__ import annotations

import ctypes
import functools
import os
import stat
import struct
import sysconfig
from ctypes import POINTER, c_double, c_int64, c_void_p
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent

INSTRUCTION_SETS = ("avx512", "avx2", "neon")
"""The instruction sets for which a library can be built, the fastest first."""


KINDS = (
    *("value", "velocity", "first", "second", "origin", "average"),
    *("ascent", "looksam", "utility"),
)
"""The kinds of numbers that each weight and bias has, in the order of `c/steps.h`."""

METHODS = ("mixture", "vasso", "fsam", "msam", "wsam", "gsam", "looksam", "gam")
"""The methods that compute a gradient, in the order of `c/steps.h`."""

DISTRIBUTIONS = (None, "uniform", "normal")
"""The distributions of noise in the order of `c/steps.h`; None is no noise."""

ACTIVATIONS = (
    *(None, "leaky_relu", "leaky_relu_tenth"),
    *("tanh", "crelu", "sine_cosine"),
)
"""The activations in the order of `c/steps.h`; None is the ReLU."""


class Units(ctypes.Structure):
    """The C struct of the statistics of hidden units."""

    _fields_ = (
        *((name, c_void_p) for name in ("silence", "threshold", "silences")),
        ("silence_lengths", c_int64),
        *((name, c_void_p) for name in ("utility", "mean_output", "age", "account")),
    )


class Parameters(ctypes.Structure):
    """The C struct of one network. Its arrays have one pointer per layer and kind."""

    _fields_ = (
        *((name, c_int64) for name in ("layers", "chains")),
        *((name, c_int64) for name in ("activation", "is_normalized")),
        ("widths", POINTER(c_int64)),
        ("weights", POINTER(c_void_p) * len(KINDS)),
        ("biases", POINTER(c_void_p) * len(KINDS)),
        ("noise", POINTER(c_double)),
        ("directions", c_void_p),
        ("units", Units),
    )


class Batches(ctypes.Structure):
    """The C struct of batches of examples. Batch t starts at element t * `stride`."""

    _fields_ = (
        *((name, c_int64) for name in ("steps", "batch", "stride")),
        *((name, c_void_p) for name in ("images", "positions", "labels")),
        *((name, c_void_p) for name in ("inputs", "targets")),
        ("low", c_double),
    )


class Hyperparameters(ctypes.Structure):
    """The C struct of the hyperparameters of a step."""

    _fields_ = tuple(
        (name, c_double)
        for name in (
            *("lr", "weight_decay", "momentum"),
            *("rho", "alpha", "epsilon", "eta", "scales_biases"),
            *("beta1", "beta2", "adam_eps"),
            *("init_decay", "hare_ema", "hare_every"),
            *("distribution", "seed", "step_shrink", "upgd_decay", "updates"),
            *("spectral_strength", "spectral_power", "spectral_bound"),
            "parseval_strength",
            *("replacement_rate", "maturity", "utility_decay", "is_printed"),
            *("rho_level", "rho_warmup", "rho_follows", "rho_updates"),
            *("method", "vasso_theta", "fsam_sigma", "fsam_lambda", "ascent_begun"),
            *("gsam_alpha", "looksam_every", "looksam_alpha", "looksam_updates"),
            *("gam_rho", "gam_beta0", "gam_beta1", "gam_gamma"),
        )
    )


class Sums(ctypes.Structure):
    """The C struct of sums over all examples, and of the number of steps."""

    _fields_ = tuple((name, c_double) for name in ("loss", "correct", "steps"))


class Convolution(ctypes.Structure):
    """The C struct of the sizes of a convolution."""

    _fields_ = tuple(
        (name, c_int64)
        for name in (
            *("networks", "panels", "height", "width", "channels"),
            *("rows", "columns", "units", "is_linear"),
        )
    )


STRUCTS = (Parameters, Batches, Hyperparameters, Sums, Convolution)


class Unavailable(Exception):
    """The C extension cannot be used on this machine, for the reason in the message."""


class Library(NamedTuple):
    """A loaded library of the C steps, for one floating-point type."""

    instruction_set: str  # one of `INSTRUCTION_SETS`
    compiler: str  # name and version, for example "gcc 12.2.0"
    functions: ctypes.CDLL  # `train` and `test` of `c/steps.h`


@functools.cache
def load(dtype: object) -> Library:
    """Load the fastest C library that this processor supports, and return it.

    `dtype` is a torch dtype or its name.

    Raises:
        Unavailable: No library is built, a library cannot be loaded, or no library
            supports this processor.
    """
    kind = str(dtype).removeprefix("torch.") + sysconfig.get_config_var("EXT_SUFFIX")
    files = {name: FOLDER / f"_native_{name}_{kind}" for name in INSTRUCTION_SETS}
    built = [name for name, file in files.items() if file.exists()]
    if not built:
        raise Unavailable(
            "the C extension is not built: install a C compiler, "
            "then install this package again"
        )
    for name in built:
        _check_file(files[name])
        try:
            functions = ctypes.CDLL(str(files[name]))
        except OSError as error:
            raise Unavailable(
                f"the C extension cannot be loaded ({error}): "
                "install this package again"
            ) from error
        sizes = (c_int64 * len(STRUCTS)).in_dll(functions, "struct_sizes")
        if list(sizes) != [ctypes.sizeof(struct) for struct in STRUCTS]:
            raise Unavailable(
                "the C extension and the Python code are of different versions: "
                "install this package again"
            )
        if functions.is_supported():
            pointers = [POINTER(struct) for struct in STRUCTS]
            functions.train.argtypes = pointers[:4]
            functions.test.argtypes = [pointers[0], pointers[1], pointers[3]]
            functions.convolution_scratch.argtypes = [pointers[4]]
            functions.convolution_scratch.restype = c_int64
            for function, arrays in (
                (functions.convolve, 6),
                (functions.convolve_back, 8),
            ):
                function.argtypes = [pointers[4], *[c_void_p] * arrays]
                function.restype = None
            text = (ctypes.c_char * 80).in_dll(functions, "compiler")
            return Library(name, text.value.decode(), functions)
    raise Unavailable(
        f"this processor has no {' or '.join(built)}, which the C extension needs"
    )


def _check_file(file: Path) -> None:
    """Check the file of a library before it is loaded, because loading runs its code.

    Raises:
        Unavailable: Other users could replace the file, or it is incomplete.
    """
    if os.name == "posix":
        for path in (file, *file.resolve().parents):
            mode = path.stat().st_mode
            # in a sticky folder such as /tmp, only the owner can replace a file
            is_sticky = mode & stat.S_ISVTX and path != file.parent
            if mode & stat.S_IWOTH and not is_sticky:
                raise Unavailable(
                    f"all users may write to {path}, so the C extension in it is not "
                    f"trusted: run chmod o-w {path}"
                )
    if _is_truncated(file):
        raise Unavailable(f"{file} is incomplete: install this package again")


def _is_truncated(file: Path) -> bool:
    """Return whether a library in the ELF format of Linux is cut off.

    If the process used the missing part, a signal would kill it. A file in this format
    ends with a table. The header of the file has the position of the table, and the
    size and the number of its entries.
    """
    with file.open("rb") as opened:
        header = opened.read(64)
    if not header.startswith(b"\x7fELF\x02\x01"):  # 64 bits, little-endian
        return False
    if len(header) < 64:
        return True
    start, size, count = struct.unpack("<40xQ10xHH2x", header)
    return bool(file.stat().st_size < start + size * count)


def facts() -> dict[str, str]:
    """Return the C compiler and the instruction set, for the metadata of the records.

    If the C extension cannot be used, both values are "none".
    """
    try:
        instruction_set, compiler, _ = load("float32")
    except Unavailable:
        instruction_set = compiler = "none"
    return {"c_compiler": compiler, "instruction_set": instruction_set}
