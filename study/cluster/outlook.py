"""What a cluster's file means: which versions would run, and what they cost at most."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from study.cluster.file import ClusterFile

SHOWN = ("ray", "torch", "pyarrow")
"""Packages whose versions are told."""


def constrained(path: Path) -> dict[str, str]:
    """Return the versions in a file of constraints, by package."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = [line.split("==") for line in lines if "==" in line]
    return {name.strip().lower(): version.strip() for name, version in pairs}


def pythons(file: ClusterFile) -> list[str]:
    """Return the Pythons that the commands name, as 3.12."""
    commands = file.commands(
        "setup_commands", "head_setup_commands", "worker_setup_commands"
    )
    found = re.findall(r"\bpython(3\.\d+)\b", " ".join(commands))
    return sorted(set(found))


def versions(file: ClusterFile) -> tuple[str, list[str]]:
    """Return what would run there, as a line, and what is wrong with it."""
    there, named = constrained(file.path.parent / "constraints.txt"), pythons(file)
    told = [f"{name} {there[name]}" for name in SHOWN if name in there]
    line = f"would run: Python {' and '.join(named) or '?'}, {', '.join(told) or '?'}"
    here = f"here: Python {_minor()}, ray {_installed('ray')}"
    return f"{line}, by constraints.txt ({here})", list(_clashes(file, there, named))


def _clashes(
    file: ClusterFile, there: dict[str, str], named: list[str]
) -> Iterator[str]:
    if len(named) != 1:
        yield (
            f"setup_commands name {' and '.join(named) or 'no'} Python: name one, as "
            "python3.12, that the image has"
        )
    if not any("constraints.txt" in c for c in file.commands("setup_commands")):
        yield "setup_commands install without -c constraints.txt: versions would differ"
    if "ray" not in there:
        yield f"{file.path.parent / 'constraints.txt'}: does not say which Ray"
    elif _installed("ray") != there["ray"]:
        yield (
            f"Ray is {_installed('ray')} here and would be {there['ray']} there: "
            "pip install -c constraints.txt -e '.[cluster]'"
        )
    low, high = _supported(file.path.parent / "pyproject.toml")
    for version in named:
        if not low <= _number(version) < high:
            yield f"setup_commands: the program does not run on Python {version}"


def _supported(path: Path) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the first Python that will do, and the first that will not again."""
    try:
        asked = tomllib.loads(path.read_text())["project"]["requires-python"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return (0,), (9,)
    low, high = re.search(r">=([\d.]+)", asked), re.search(r"<([\d.]+)", asked)
    return _number(low[1]) if low else (0,), _number(high[1]) if high else (9,)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _minor() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def cost(file: ClusterFile) -> tuple[str, list[str]]:
    """Return what an hour costs at most, as a line, and why it is not known.

    The prices are the file's own. A spot worker's is a bound that AWS keeps
    (MaxPrice); the head's is what its user has looked up.
    """
    wrong: list[str] = []
    head = _dollars(file.settings.get("head_price"))
    if head is None:
        wrong.append("metadata.head_price is missing: US dollars an hour, as 0.10")
    parts, whole = [f"head {head or 0:.2f}"], head or 0.0
    most = file.config.get("max_workers")
    for name, kind in file.workers.items():
        bounds = [n for n in (kind.get("max_workers"), most) if isinstance(n, int)]
        count = min(bounds, default=0)
        price, how = _price(file, name)
        if price is None:
            wrong.append(f"available_node_types.{name}: {how}")
            continue
        parts.append(f"{count} x {name} {price:.2f} ({how})")
        whole += count * price
    summed = f"costs at most: ${whole:.2f} an hour ({' + '.join(parts)})"
    if wrong:
        summed = "costs at most: not known"
    return f"{summed}, disks and traffic aside; the prices are the file's", wrong


def _price(file: ClusterFile, name: str) -> tuple[float | None, str]:
    """Return the most that a worker's hour costs, and how, or why it is not known."""
    market = file.node_config(name).get("InstanceMarketOptions")
    market = market if isinstance(market, dict) else {}
    if market.get("MarketType") != "spot":
        price = _dollars(file.settings.get("worker_price"))
        return price, "on demand" if price else "no metadata.worker_price"
    options = market.get("SpotOptions")
    price = _dollars(options.get("MaxPrice") if isinstance(options, dict) else None)
    return price, "spot" if price else "no MaxPrice: nothing bounds what spot costs"


def _dollars(value: object) -> float | None:
    try:
        price = float(str(value))
    except ValueError:
        return None
    return price if price > 0 else None
