"""All checks, in the order in which they are quick: `python -m tests`.

The types are checked beside the tests, some of which wait for Ray to start.
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
    """Return the exit code of a check, its output if it is kept, and its seconds."""
    program, *words = check.split()
    started = time.monotonic()
    path = Path(sys.executable).parent / program
    result = subprocess.run([path, *words], text=True, **options)
    return result.returncode, result.stdout or "", time.monotonic() - started


def main() -> int:
    """Run every check, also after one has failed; return 1 if one did."""
    failed = []
    with ThreadPoolExecutor(1) as beside:
        keep = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        types = beside.submit(run, TYPES, **keep)
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
