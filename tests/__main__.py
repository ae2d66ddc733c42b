"""All checks, in the order in which they are quick: `python -m tests`."""

from __future__ import annotations

import subprocess
import sys
import time

CHECKS: dict[str, list[str]] = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy"],
    "imports": ["importlinter.cli", "lint-imports"],
    "tests": ["pytest", "-q"],
}


def main() -> int:
    """Run every check, also after one has failed; return 1 if one did."""
    failed = []
    for name, words in CHECKS.items():
        print(f"--- {name}: {' '.join(words)}", flush=True)
        started = time.monotonic()
        code = subprocess.run([sys.executable, "-m", *words]).returncode
        print(f"--- {name}: {time.monotonic() - started:.0f} s", flush=True)
        if code:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
