"""All checks, in the order in which they are quick: `python -m tests`."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

C_FILES = " ".join(str(path) for path in sorted(Path("trainables/steps/c").iterdir()))

CHECKS: dict[str, str] = {
    "format": "ruff format --check .",
    "C format": f"clang-format --dry-run --Werror {C_FILES}",
    "lint": "ruff check .",
    "types": "mypy",
    "imports": "lint-imports --no-logo",
    "tests": "pytest -q -n 2 --dist loadgroup",
}


def main() -> int:
    """Run every check, also after one has failed; return 1 if one did."""
    failed = []
    here = Path(sys.executable).parent
    for name, check in CHECKS.items():
        print(f"--- {name}: {check}", flush=True)
        program, *words = check.split()
        started = time.monotonic()
        code = subprocess.run([here / program, *words]).returncode
        print(f"--- {name}: {time.monotonic() - started:.0f} s", flush=True)
        if code:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
