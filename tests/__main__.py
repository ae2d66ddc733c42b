"""Run all checks, the fastest first: `python -m tests`.

mypy runs in parallel with the other checks, because some tests only wait for Ray.
"""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

C_FILES = " ".join(str(path) for path in sorted(Path("trainables/steps/c").iterdir()))

CHECKS: dict[str, str] = {
    "format": "ruff format --check .",
    "C format": f"clang-format --dry-run --Werror {C_FILES}",
    "lint": "ruff check .",
    "imports": "lint-imports --no-logo",
    "tests": "pytest -q -n 3 --dist loadgroup --no-loadscope-reorder --durations=20",
}
TYPES = "mypy"


def run(check: str, **options: int) -> tuple[int, str, float]:
    """Run a check; return its exit code, its output and its seconds.

    The output is empty unless `options` for `subprocess.run` capture it.
    """
    program, *words = check.split()
    started = time.monotonic()
    path = Path(sys.executable).parent / program
    result = subprocess.run([path, *words], text=True, **options)
    return result.returncode, result.stdout or "", time.monotonic() - started


def main() -> int:
    """Run every check, even after a failure; return 1 if a check failed, else 0."""
    failed = []
    with ThreadPoolExecutor(1) as executor:
        capture = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        types = executor.submit(run, TYPES, **capture)
        for name, check in CHECKS.items():
            print(f"--- {name}: {check}", flush=True)
            code, _, seconds = run(check)
            print(f"--- {name}: {seconds:.0f} s", flush=True)
            if code:
                failed.append(name)
        code, output, seconds = types.result()
    print(f"--- types: {TYPES}\n{output}--- types: {seconds:.0f} s")
    if code:
        failed.append("types")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
