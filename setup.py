"""Build the steps in C, once per instruction set and type (rest: `pyproject.toml`).

Everything here is optional: without a C compiler, or with one that does not know an
instruction set, the install goes on, and torch makes the steps.
"""

import copy
import platform

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FOLDER = "trainables/steps/c/"

SOURCES = (
    *("kernels", "noise", "family", "penalties", "units", "steps"),
    "convolution",
)

AVX512 = ["f", "bw", "cd", "dq", "vl"]

FLAGS = {
    "avx512": ["-mavx2", "-mfma", *(f"-mavx512{part}" for part in AVX512)],
    "avx2": ["-mavx2", "-mfma"],
    "neon": [],
}

INSTRUCTION_SETS = {
    "x86_64": ["avx512", "avx2"],
    "AMD64": ["avx512", "avx2"],
    "aarch64": ["neon"],
    "arm64": ["neon"],
}

TYPES = {"float32": [], "float64": [("DOUBLE", "1")]}


class BuildSideBySide(build_ext):
    """Builds the extensions in parallel, the objects of each in a folder of its own."""

    def finalize_options(self) -> None:
        """Use all cores."""
        super().finalize_options()
        self.parallel = True

    def build_extension(self, ext: Extension) -> None:
        """Build one extension; all have the same sources."""
        own = copy.copy(self)
        own.build_temp = f"{self.build_temp}/{ext.name}"
        build_ext.build_extension(own, ext)


setup(
    cmdclass={"build_ext": BuildSideBySide},
    ext_modules=[
        Extension(
            f"trainables.steps._native_{name}_{dtype}",
            sources=[FOLDER + file + ".c" for file in SOURCES],
            depends=[FOLDER + file for file in ("kernels.h", "network.h", "steps.h")],
            define_macros=macros,
            # a fused multiply-add rounds alike in every build
            extra_compile_args=[
                *("-O3", "-g0", "-std=gnu11", "-fno-fast-math", "-ffp-contract=fast"),
                "-fvisibility=protected",  # exports all functions to the tests
                *FLAGS[name],
            ],
            libraries=["m"],
            optional=True,
        )
        for name in INSTRUCTION_SETS.get(platform.machine(), [])
        for dtype, macros in TYPES.items()
    ],
)
