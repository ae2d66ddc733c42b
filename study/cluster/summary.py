"""The versions that a cluster would run, and its cost per hour."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import tomllib

from packaging.specifiers import SpecifierSet

from study.cluster.cluster_file import ClusterFile, as_mapping

PACKAGES = ("ray", "torch", "pyarrow")
"""Packages whose versions are shown."""


def versions(file: ClusterFile) -> tuple[str, list[str]]:
    """Return the versions of cluster and local machine, and what is wrong with them."""
    try:
        pins = (file.path.parent / "constraints.txt").read_text()
        project = tomllib.loads((file.path.parent / "pyproject.toml").read_text())
    except OSError as error:
        return "versions: unknown", [f"{error.filename} is missing beside the file"]
    pinned = dict(re.findall(r"(?m)^([\w-]+)==(\S+)", pins))
    supported = SpecifierSet(project["project"]["requires-python"])
    local_ray = importlib.metadata.version("ray")
    commands = " ".join(file.commands("setup_commands"))
    pythons = sorted(set(re.findall(r"\bpython(3\.\d+)\b", commands)))
    problems = [
        f"setup_commands: Python {python} is not {supported}"
        for python in pythons
        if python not in supported
    ]
    if len(pythons) != 1:
        problems.append("setup_commands: name exactly one Python, as python3.12")
    if "constraints.txt" not in commands:
        problems.append("setup_commands: no -c constraints.txt; versions would differ")
    if pinned.get("ray") != local_ray:
        problems.append(
            f"Ray is {local_ray} here and {pinned.get('ray')} on the cluster; run "
            "pip install -c constraints.txt -e '.[cluster]'"
        )
    shown = ", ".join(f"{name} {pinned.get(name)}" for name in PACKAGES)
    local = f"Python {platform.python_version()}, ray {local_ray}"
    line = f"versions: Python {' and '.join(pythons)}, {shown}; this machine: {local}"
    return line, problems


def cost(file: ClusterFile) -> tuple[str, list[str]]:
    """Return the highest cost per hour, and which prices are missing.

    The prices are the file's: AWS ends a spot worker before it costs more than its
    MaxPrice; the price of the head, and of workers on demand, is looked up by the user.
    """
    settings, limit = file.mapping("metadata"), file.config.get("max_workers", 0)
    prices = [(1, "head", "metadata.head_price", settings.get("head_price"))]
    for name, kind in file.worker_types.items():
        config = as_mapping(kind.get("node_config"))
        market = as_mapping(config.get("InstanceMarketOptions"))
        key, price = "metadata.worker_price", settings.get("worker_price")
        if market.get("MarketType") == "spot":
            key = f"{name}: SpotOptions.MaxPrice"
            price = as_mapping(market.get("SpotOptions")).get("MaxPrice")
        most = kind.get("max_workers", limit)
        counts = [n for n in (most, limit) if isinstance(n, int)]
        prices.append((min(counts, default=0), name, key, price))
    total, parts, problems = 0.0, [], []
    for count, name, key, price in prices:
        if re.fullmatch(r"\d*\.?\d+", str(price)):
            total += count * float(str(price))
            parts.append(f"{count} x {name} {float(str(price)):.2f}")
        else:
            problems.append(f"{key}: no price; it limits the cost")
    if problems:
        return "cost: unknown", problems
    return (
        f"cost: at most ${total:.2f} an hour ({' + '.join(parts)}; prices of the "
        "file, without disks and traffic)"
    ), []
