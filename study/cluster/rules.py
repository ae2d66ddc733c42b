"""What may be wrong with a cluster's file, seen without asking anybody.

A rule is a function that yields a line for each thing it finds. All are asked, so that
a person sees everything at once.
"""

from __future__ import annotations

import ipaddress
import os
import re
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from study.cluster.file import TOKEN, ClusterFile
from study.cluster.schema import unknown_keys

Rule = Callable[[ClusterFile], Iterator[str]]

START = {
    "head": ("head_start_ray_commands",),
    "workers": ("worker_start_ray_commands",),
}
"""Where each kind of node starts its Ray."""

SSH = 22


def placeholders(file: ClusterFile) -> Iterator[str]:
    """A value that the user has to set is not."""
    for where, mark in file.placeholders():
        yield f"{where}: placeholder {mark} is left: put a value there"


def maxima(file: ClusterFile) -> Iterator[str]:
    """A kind of worker may be more often there than all workers together."""
    most = file.config.get("max_workers")
    if not isinstance(most, int):
        if most is not None:
            return  # the schema says so
        yield "max_workers is missing: give the most workers at once, which costs money"
        return
    least = 0
    for name, kind in file.workers.items():
        own, low = kind.get("max_workers", most), kind.get("min_workers", 0)
        if not isinstance(own, int) or not isinstance(low, int):
            continue  # the schema says so
        where = f"available_node_types.{name}"
        if own > most:
            yield f"{where}.max_workers is {own}, over the global max_workers {most}"
        if low > own:
            yield f"{where}.min_workers is {low}, over its max_workers {own}"
        least += min(low, own)
    if least > most:
        yield f"the min_workers are {least} in all, over the global max_workers {most}"


def head_node(file: ClusterFile) -> Iterator[str]:
    """The head is not there, or would run trials and be busy when it must answer."""
    if file.head not in file.node_types:
        yield f"head_node_type is {file.head!r}, which is no available_node_types"
    if not _has(file, "head", r"--num-cpus[= ]0\b"):
        yield "head_start_ray_commands: no --num-cpus=0: the head would run trials"


def token(file: ClusterFile) -> Iterator[str]:
    """A node would have no token: it could not join, or anybody could."""
    mounts = file.config.get("file_mounts")
    mine = mounts.get(TOKEN) if isinstance(mounts, dict) else None
    if mine is None:
        yield (
            f"file_mounts: no {TOKEN}: workers would never join; mount the token that "
            "`ray get-auth-token --generate` makes"
        )
    for kind, (commands,) in START.items():
        if not _has(file, kind, r"RAY_AUTH_MODE=token\b"):
            yield f"{commands}: no RAY_AUTH_MODE=token before `ray start`"


def mounts(file: ClusterFile) -> Iterator[str]:
    """What is to be copied to the nodes is not here."""
    held = file.config.get("file_mounts")
    for remote, local in (held if isinstance(held, dict) else {}).items():
        path = Path(str(local)).expanduser()
        if not path.exists():
            yield f"file_mounts.{remote}: there is no {local} here, in {Path.cwd()}"
        elif remote == TOKEN and not path.read_text().strip():
            yield (
                f"file_mounts.{remote}: {local} is empty: "
                "`ray get-auth-token --generate` fills it"
            )


def _has(file: ClusterFile, kind: str, pattern: str) -> bool:
    """Tell whether all commands that start a Ray on such nodes say something."""
    starts = [c for c in file.commands(*START[kind]) if re.search(r"\bray start\b", c)]
    return bool(starts) and all(re.search(pattern, c) for c in starts)


def open_ports(file: ClusterFile) -> Iterator[str]:
    """Port 22 is open to the world, or the dashboard is to more than the head."""
    provider = file.config.get("provider")
    group = provider.get("security_group") if isinstance(provider, dict) else None
    for name in file.node_types:
        config = file.node_config(name)
        if not config.get("SecurityGroupIds") and not config.get("NetworkInterfaces"):
            yield (
                f"available_node_types.{name}.node_config: no SecurityGroupIds, and "
                "Ray's own group opens port 22 to the world: `prepare` makes a "
                "narrow one"
            )
    rules = group.get("IpPermissions") if isinstance(group, dict) else None
    for rule in rules if isinstance(rules, list) else []:
        yield from world_in(rule, "provider.security_group")
    source = file.settings.get("ssh_from")
    if source is not None and "<" not in str(source):
        try:
            if ipaddress.ip_network(str(source)).prefixlen == 0:
                yield f"metadata.ssh_from is {source}: port 22 is open to the world"
        except ValueError as error:
            yield f"metadata.ssh_from is no CIDR: {error}"
    if _has(file, "head", r"--dashboard-host[= ](?!127\.|localhost)"):
        yield (
            "head_start_ray_commands: the dashboard listens to more than the head: "
            "--dashboard-host=127.0.0.1, and `ray dashboard` brings it to you"
        )


def world_in(rule: dict[str, Any], where: str) -> Iterator[str]:
    """Yield whether a rule of a security group lets everybody in."""
    every = rule.get("IpProtocol") == "-1"
    low, high = rule.get("FromPort", -1), rule.get("ToPort", -1)
    ranges = [*rule.get("IpRanges", []), *rule.get("Ipv6Ranges", [])]
    sources = [r.get("CidrIp") or r.get("CidrIpv6") for r in ranges]
    for source in sources:
        if str(source).endswith("/0"):
            ssh = every or low <= SSH <= high
            port = f"port {SSH}" if ssh else f"ports {low}-{high}"
            yield f"{where}: {port} is open to the world ({source})"


def storage(file: ClusterFile) -> Iterator[str]:
    """The workers cannot write to where the results are to be."""
    results = file.settings.get("results")
    if results is None:
        yield "metadata.results is missing: where the results go, as s3://bucket/prefix"
        return
    parts = urllib.parse.urlsplit(str(results))
    if parts.scheme != "s3":
        yield (
            f"metadata.results is {results}: workers cannot write to a folder of "
            "another machine: give s3://bucket/prefix"
        )
        return
    if parts.username:
        yield "metadata.results has keys in it: leave them out, the nodes have a role"
    for name in file.workers:
        if not file.node_config(name).get("IamInstanceProfile"):
            yield (
                f"available_node_types.{name}.node_config: no IamInstanceProfile: such "
                f"workers cannot write to {parts.netloc}"
            )


def left_behind(file: ClusterFile) -> Iterator[str]:
    """Something would go on costing money, or is not what one thinks."""
    provider = file.config.get("provider")
    if isinstance(provider, dict) and provider.get("cache_stopped_nodes") is not False:
        yield (
            "provider.cache_stopped_nodes is not false: nodes would be stopped, not "
            "ended, and their disks go on costing"
        )
    for name in file.node_types:
        if not file.node_config(name).get("ImageId"):
            yield (
                f"available_node_types.{name}.node_config: no ImageId: Ray would take "
                "an image of Ubuntu 18.04, which has no Python for this program"
            )


RULES: tuple[Rule, ...] = (
    placeholders,
    unknown_keys,
    maxima,
    head_node,
    token,
    mounts,
    open_ports,
    storage,
    left_behind,
)


def findings(file: ClusterFile) -> list[str]:
    """Return all that is wrong, a line each, in the order of the rules."""
    return list(dict.fromkeys(line for rule in RULES for line in rule(file)))


def region(file: ClusterFile) -> str:
    """Return the region where the cluster is to be."""
    provider = file.config.get("provider")
    named = provider.get("region") if isinstance(provider, dict) else None
    return str(named or os.environ.get("AWS_REGION") or "")
