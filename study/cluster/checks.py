"""Problems of a cluster file that can be seen without asking AWS.

Ray validates the keys that it reads, botocore those that Ray passes to EC2. The rules
here are about the rest: open ports, tokens, storage, and nodes that go on costing.
Each rule yields one line per problem. All rules run, so that one call shows everything.
"""

from __future__ import annotations

import copy
import difflib
import ipaddress
import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import ray.autoscaler
from ray.autoscaler._private.util import prepare_config, validate_config

from study.cluster.cluster_file import (
    PLACEHOLDER,
    TOKEN_FILE,
    ClusterFile,
    as_mapping,
    is_set,
)
from study.console import only_console_prints

SSH_PORT = 22

SETTINGS = [
    *("results", "ssh_from", "region", "image_name", "image", "security_group"),
    *("most_workers", "worker_price", "head_price"),
]
"""The keys of `metadata`."""

PROVIDER_KEYS = [
    *("aws_credentials", "cloudwatch", "disable_launch_config_check", "key_pair")
]
"""Keys of `provider` that Ray 2.60 reads on AWS but its schema does not list."""

COMMANDS = (
    ("head", r"--num-cpus[= ]0\b", "no --num-cpus=0; the head would run trials"),
    (
        "head",
        r"--dashboard-host[= ](127\.|localhost)|^(?!.*--dashboard-host)",
        "other machines reach the dashboard; use --dashboard-host=127.0.0.1",
    ),
    ("head", r"RAY_AUTH_MODE=token\b", "no RAY_AUTH_MODE=token before `ray start`"),
    ("worker", r"RAY_AUTH_MODE=token\b", "no RAY_AUTH_MODE=token before `ray start`"),
)
"""The kind of node, a pattern that each `ray start` must match, and the problem."""


def problems(file: ClusterFile) -> list[str]:
    """Return the problems of a cluster file, one line each."""
    return list(dict.fromkeys(line for rule in RULES for line in rule(file)))


def _placeholders(file: ClusterFile) -> Iterator[str]:
    for number, line in enumerate(file.text.splitlines(), 1):
        for mark in PLACEHOLDER.findall(line.split("#")[0]):
            yield f"line {number}: replace the placeholder {mark} with your value"


def _ray_keys(file: ClusterFile) -> Iterator[str]:
    """Yield the first problem that Ray has with the file."""
    try:
        with only_console_prints():  # Ray warns of mounts that are files
            validate_config(prepare_config(copy.deepcopy(file.config)))
    except jsonschema.ValidationError as error:
        path = ".".join(map(str, error.absolute_path))
        if error.validator == "additionalProperties":
            known = error.schema["properties"]
            yield from _unknown_keys(path, error.instance, known)
        else:
            yield f"{path or 'the file'}: {error.message}"
    except Exception as error:  # Ray raises anything if the structure is wrong
        yield f"Ray cannot use the file: {type(error).__name__}: {error}"


def _ignored_keys(file: ClusterFile) -> Iterator[str]:
    """Yield misspelt keys in the parts that Ray's schema leaves open."""
    schema = Path(ray.autoscaler.__file__).with_name("ray-schema.json")
    known = json.loads(schema.read_text())["properties"]["provider"]["properties"]
    provider = file.mapping("provider")
    yield from _unknown_keys("provider", provider, [*known, *PROVIDER_KEYS])
    yield from _unknown_keys("metadata", file.mapping("metadata"), SETTINGS)


def _unknown_keys(
    path: str, keys: Iterable[str], known: Iterable[str]
) -> Iterator[str]:
    for key in sorted(set(keys) - set(known)):
        prefix = f"{path}." if path else ""
        yield f"{prefix}{key}: unknown key{_did_you_mean(key, known)}"


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    similar = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean {similar[0]}?" if similar else ""


def _ec2_arguments(file: ClusterFile) -> Iterator[str]:
    """Yield what EC2 would refuse, by botocore's model of RunInstances."""
    try:
        import botocore.session
        from botocore.validate import ParamValidator
    except ImportError:
        yield "`ray up` needs boto3: pip install -c constraints.txt -e '.[cluster]'"
        return
    ec2 = botocore.session.get_session().get_service_model("ec2")
    shape = ec2.operation_model("RunInstances").input_shape
    types = shape.members["InstanceType"].enum
    for path, config in file.node_configs.items():
        # Ray chooses one of SubnetIds, which EC2 does not know, and adds the counts
        arguments = {k: v for k, v in config.items() if k != "SubnetIds"}
        arguments |= {"MinCount": 1, "MaxCount": 1}
        report = ParamValidator().validate(arguments, shape).generate_report()
        for line in report.splitlines():
            unknown = re.match(
                r'Unknown .* in (\S+): "(.*)", must be one of: (.*)', line
            )
            if unknown:
                inner = f"{path}.{unknown[1]}".removesuffix(".input")
                yield from _unknown_keys(inner, [unknown[2]], unknown[3].split(", "))
            else:
                yield f"{path}: {line}"
        name = config.get("InstanceType")
        if is_set(name) and name not in types:
            yield f"{path}: EC2 has no {name}{_did_you_mean(str(name), types)}"


def _worker_counts(file: ClusterFile) -> Iterator[str]:
    limit = file.config.get("max_workers")
    if limit is None:
        yield "max_workers is missing; it limits the number of workers and the cost"
    for name, kind in file.worker_types.items():
        most, least = kind.get("max_workers", limit), kind.get("min_workers", 0)
        if not (isinstance(limit, int) and isinstance(most, int)):
            continue  # Ray's schema reports it
        if not isinstance(least, int):
            continue
        if most > limit:
            yield f"{name}.max_workers is {most}, above the global max_workers {limit}"
        if most < least <= limit:  # Ray reports a min_workers above the global limit
            yield f"{name}.min_workers is {least}, above its max_workers {most}"


def _start_commands(file: ClusterFile) -> Iterator[str]:
    for kind, pattern, problem in COMMANDS:
        key = f"{kind}_start_ray_commands"
        starts = [c for c in file.commands(key) if re.search(r"\bray start\b", c)]
        if not starts or not all(re.search(pattern, c) for c in starts):
            yield f"{key}: {problem}"


def _file_mounts(file: ClusterFile) -> Iterator[str]:
    mounts = file.mapping("file_mounts")
    if TOKEN_FILE not in mounts:
        yield f"file_mounts: no {TOKEN_FILE}; workers could not join the cluster"
    for remote, local in mounts.items():
        path = Path(str(local)).expanduser()
        if not path.exists():
            yield f"file_mounts.{remote}: {local} does not exist in {Path.cwd()}"
        elif remote == TOKEN_FILE and not path.read_text().strip():
            yield f"file_mounts.{remote}: {local} is empty; `prepare` fills it"


def _open_ports(file: ClusterFile) -> Iterator[str]:
    for path, config in file.node_configs.items():
        if not config.get("SecurityGroupIds") and not config.get("NetworkInterfaces"):
            yield (
                f"{path}: no SecurityGroupIds; Ray's own group opens port 22 to the "
                "world, `prepare` creates a narrow one"
            )
    group = as_mapping(file.mapping("provider").get("security_group"))
    for rule in group.get("IpPermissions") or []:
        yield from open_to_world(rule, "provider.security_group")
    source = file.mapping("metadata").get("ssh_from")
    if is_set(source):
        yield from ssh_source_problems(str(source))


def ssh_source_problems(source: str) -> Iterator[str]:
    """Yield why SSH from these addresses cannot be allowed."""
    try:
        if ipaddress.ip_network(source).prefixlen == 0:
            yield f"metadata.ssh_from is {source}: port 22 would be open to the world"
    except ValueError as error:
        yield f"metadata.ssh_from: give a network, as 203.0.113.7/32: {error}"


def open_to_world(rule: dict[str, Any], path: str) -> Iterator[str]:
    """Yield the ports that a rule of a security group opens to every address."""
    low, high = rule.get("FromPort", 0), rule.get("ToPort", 65535)
    port = f"port {SSH_PORT}" if low <= SSH_PORT <= high else f"ports {low}-{high}"
    for source in [*rule.get("IpRanges", []), *rule.get("Ipv6Ranges", [])]:
        network = str(source.get("CidrIp") or source.get("CidrIpv6"))
        if network.endswith("/0"):
            yield f"{path}: {port} is open to the world ({network})"


def _storage(file: ClusterFile) -> Iterator[str]:
    results = file.mapping("metadata").get("results")
    parts = urllib.parse.urlsplit(str(results))
    if parts.scheme != "s3":
        yield f"metadata.results is {results}; give a bucket, as s3://bucket/prefix"
    if parts.username:
        yield "metadata.results contains keys; remove them, the nodes have a role"
    for path, config in file.node_configs.items():
        if not config.get("IamInstanceProfile"):
            yield f"{path}: no IamInstanceProfile; the node cannot write to {results}"


def _costs_and_images(file: ClusterFile) -> Iterator[str]:
    if file.mapping("provider").get("cache_stopped_nodes") is not False:
        yield (
            "provider.cache_stopped_nodes is not false; nodes would be stopped, not "
            "terminated, and their disks go on costing"
        )
    for path, config in file.node_configs.items():
        if not config.get("ImageId"):
            yield f"{path}: no ImageId; Ray's default, Ubuntu 18.04, is too old"


RULES = (
    _placeholders,
    _ray_keys,
    _ignored_keys,
    _ec2_arguments,
    _worker_counts,
    _start_commands,
    _file_mounts,
    _open_ports,
    _storage,
    _costs_and_images,
)
