"""The C extension: its builds, its kernels, and a run of its tests under sanitizers."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from trainables.networks.network import initial_network
from trainables.setting import Setting
from trainables.steps import check, extension, native
from trainables.steps.engine import choose_engine, describe_engine
from trainables.usage import UsageError

ROOT = Path(__file__).parents[3]


def build(folder: Path, **environment: str) -> list[str]:
    """Build into a folder; return the names of the libraries."""
    command = [sys.executable, "setup.py", "-q", "build_ext"]
    command += ["--build-lib", str(folder), "--build-temp", str(folder / "temp")]
    subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, check=True, capture_output=True
    )
    paths = (folder / "trainables" / "steps").glob("*.so")
    return sorted(path.name.partition(".")[0] for path in paths)


def compiler(folder: Path, *, refuse: str) -> str:
    """Return a C compiler that compiles nothing and refuses one flag."""
    path = folder / "compiler"
    path.write_text(
        f'#!/bin/sh\ncase "$*" in *{refuse}*) exit 1;; esac\n'
        'while [ "$1" != -o ]; do shift; done; : > "$2"\n'
    )
    path.chmod(0o755)
    return str(path)


@pytest.mark.skipif("avx2" not in extension.facts().values(), reason="needs AVX2")
def test_a_build_keeps_the_instruction_sets_that_compile(tmp_path):
    path = compiler(tmp_path, refuse="-mavx512f")
    names = build(tmp_path, CC=path, LDSHARED=path)
    assert names == ["_native_avx2_float32", "_native_avx2_float64"]


def test_a_build_without_a_compiler_goes_on(tmp_path):
    assert build(tmp_path, CC="/no/compiler", LDSHARED="/no/compiler") == []


@pytest.fixture
def not_built(tmp_path, monkeypatch):
    monkeypatch.setattr(extension, "FOLDER", tmp_path)
    for load in (extension.load, check.load):
        load.cache_clear()
    yield tmp_path
    for load in (extension.load, check.load):
        load.cache_clear()


def test_without_the_extension_torch_makes_the_steps(not_built, monkeypatch):
    monkeypatch.delenv("PLASTICITY_ENGINE", raising=False)
    network = initial_network([784, 20, 10], [0])
    assert native.supports(Setting(), network)
    assert choose_engine(Setting(), network) == "torch"
    assert describe_engine().startswith("torch (the C extension is not built: install")
    assert set(extension.facts().values()) == {"none"}
    with pytest.raises(UsageError, match="the C extension is not built"):
        choose_engine(Setting(), network, "native")
    monkeypatch.setenv("PLASTICITY_ENGINE", "native")
    with pytest.raises(UsageError, match="the C extension is not built"):
        choose_engine(Setting(), network)


def test_a_damaged_library_is_named(not_built):
    suffix = extension.sysconfig.get_config_var("EXT_SUFFIX")
    (not_built / f"_native_avx2_float32{suffix}").write_text("no library")
    assert "install this package again" in describe_engine()


LIBRARY = extension.FOLDER / (
    f"_native_{extension.facts()['instruction_set']}_float32"
    + extension.sysconfig.get_config_var("EXT_SUFFIX")
)


@pytest.mark.skipif(sys.platform != "linux", reason="needs ELF")
@pytest.mark.parametrize("share", [0.0, 0.0005, 0.3, 0.99999])
def test_a_library_without_its_end_is_refused(share, not_built):
    """Loading it would kill the process with a signal."""
    content = LIBRARY.read_bytes()
    (not_built / LIBRARY.name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(extension.Unavailable, match=r"install this package again$"):
        extension.load("float32")
    assert describe_engine().startswith("torch (")


@pytest.mark.skipif(os.name != "posix", reason="needs modes of files")
@pytest.mark.parametrize("where", ["file", "folder", "parent"])
def test_a_library_that_others_can_write_is_refused(where, tmp_path, monkeypatch):
    folder = tmp_path / "parent" / "folder"
    folder.mkdir(parents=True)
    file = folder / LIBRARY.name
    file.write_bytes(LIBRARY.read_bytes())
    monkeypatch.setattr(extension, "FOLDER", folder)
    extension.load.cache_clear()
    assert extension.load("float32").functions
    path = {"file": file, "folder": folder, "parent": folder.parent}[where]
    path.chmod(0o777)
    extension.load.cache_clear()
    try:
        with pytest.raises(extension.Unavailable, match=rf"chmod o-w {path}$"):
            extension.load("float32")
        if where == "parent":  # a sticky bit keeps others from replacing the folder
            path.chmod(0o1777)
            assert extension.load("float32").functions
    finally:
        extension.load.cache_clear()


def test_the_environment_chooses_the_engine(monkeypatch):
    network = initial_network([784, 20, 10], [0])
    for engine in ("reference", "torch", "native"):
        monkeypatch.setenv("PLASTICITY_ENGINE", engine)
        assert choose_engine(Setting(), network) == engine
        assert describe_engine().startswith(engine)
    monkeypatch.setenv("PLASTICITY_ENGINE", "nativ")
    with pytest.raises(UsageError, match="did you mean 'native'"):
        choose_engine(Setting(), network)


# ---- kernels, in float64


def lanes() -> int:
    name = extension.load(torch.float64).instruction_set
    return {"avx512": 8, "avx2": 4, "neon": 2}[name]


def aligned(values: np.ndarray) -> np.ndarray:
    """Return a copy whose memory is aligned to 64 bytes."""
    memory = np.zeros(values.size + 8)
    start = -memory.ctypes.data % 64 // 8
    copy = memory[start : start + values.size].reshape(values.shape)
    copy[...] = values
    return copy


def to_panels(rows: np.ndarray) -> np.ndarray:
    """Lay (examples, features) out as panels: (panels, features, lanes)."""
    return aligned(rows.reshape(-1, lanes(), rows.shape[1]).transpose(0, 2, 1))


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


class Matrix(ctypes.Structure):
    _fields_ = (
        ("values", ctypes.c_void_p),
        ("row_stride", ctypes.c_int64),
        ("column_stride", ctypes.c_int64),
    )


class Panels(ctypes.Structure):
    _fields_ = (("values", ctypes.c_void_p), ("stride", ctypes.c_int64))


@pytest.mark.parametrize("panels", [1, 2, 3])
@pytest.mark.parametrize(("rows", "depth"), [(1, 1), (7, 30), (13, 225), (40, 450)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("add", [False, True])
def test_multiply(panels, rows, depth, transposed, add):
    random = np.random.default_rng(0)
    a = random.normal(size=(rows, depth))
    x = random.normal(size=(panels * lanes(), depth))
    c = random.normal(size=(panels * lanes(), rows))
    stored = aligned(a.T if transposed else a)
    strides = (1, rows) if transposed else (depth, 1)
    x_panels, c_panels = to_panels(x), to_panels(c)
    extension.load(torch.float64).functions.multiply(
        Matrix(stored.ctypes.data, *strides),
        ctypes.c_int64(rows),
        ctypes.c_int64(depth),
        Panels(x_panels.ctypes.data, depth * lanes()),
        Panels(c_panels.ctypes.data, rows * lanes()),
        ctypes.c_int64(panels),
        ctypes.c_bool(add),
    )
    expected = to_panels(x @ a.T + (c if add else 0))
    np.testing.assert_allclose(c_panels, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("panels", [1, 3])
@pytest.mark.parametrize("vectors", [1, 5])
def test_rows_become_panels_and_rows_again(panels, vectors):
    rows = aligned(
        np.random.default_rng(0).normal(size=(panels * lanes(), vectors * lanes()))
    )
    made, again = aligned(np.zeros_like(to_panels(rows))), aligned(np.zeros_like(rows))
    sizes = (ctypes.c_int64(rows.shape[1]), ctypes.c_int64(panels))
    functions = extension.load(torch.float64).functions
    functions.rows_to_panels(pointer(rows), *sizes, pointer(made))
    functions.panels_to_rows(pointer(made), *sizes, pointer(again))
    assert np.array_equal(made, to_panels(rows))
    assert np.array_equal(again, rows)


# ---- sanitizers

SANITIZED = """
import sys, pathlib, pytest
from trainables.steps import extension
extension.FOLDER = pathlib.Path(sys.argv[1])
words = ["-q", "-s", "-x", "-n0", "-p", "no:cacheprovider", *sys.argv[2:]]
sys.exit(pytest.main(words))
"""


CHECKED = (
    "multiply or rows or refused or testing or cancel or everything "
    "or (any_batch and GNP and not 64 and not 200)"
)
"""The other shapes of these batches are smaller, and fill vectors in part."""


@pytest.mark.chaos
@pytest.mark.skipif(sys.platform != "linux", reason="needs LD_PRELOAD")
def test_the_c_runs_clean_under_sanitizers(tmp_path):
    """Any access out of bounds and any undefined behaviour ends the run."""
    suffix = extension.sysconfig.get_config_var("EXT_SUFFIX")
    name = extension.load("float64").instruction_set
    flags = "-O0 -std=gnu11 -march=native -fPIC -shared -fno-sanitize-recover=all"
    command = ["cc", *flags.split(), "-fsanitize=address,undefined"]
    sources = sorted((extension.FOLDER / "c").glob("*.c"))
    for dtype, macros in (("float32", []), ("float64", ["-DDOUBLE"])):
        output = tmp_path / f"_native_{name}_{dtype}{suffix}"
        subprocess.run([*command, *macros, "-o", output, *sources, "-lm"], check=True)
    runtimes = [
        subprocess.check_output(["cc", f"-print-file-name={file}"], text=True).strip()
        for file in ("libasan.so", "libubsan.so")
    ]
    folder = Path(__file__).parent
    tests = [folder / "test_native.py", folder / "test_actor_critic.py", __file__]
    result = subprocess.run(
        [sys.executable, "-c", SANITIZED, tmp_path, *tests, "-k", CHECKED],
        cwd=ROOT,
        env=os.environ
        | {"LD_PRELOAD": ":".join(runtimes), "ASAN_OPTIONS": "detect_leaks=0"},
        capture_output=True,
        text=True,
    )
    report = result.stdout[-2000:] + result.stderr[-4000:]
    assert result.returncode == 0, report
    assert " passed" in result.stdout, report
