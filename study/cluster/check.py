"""Problems of a cluster file that Ray does not report, and its highest cost per hour.

Ray validates the keys that it reads. The checks here are about the rest: what EC2 would
refuse only when the head already costs, open ports, the token, files that are missing,
and nodes that go on costing.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import botocore.session
from botocore.exceptions import BotoCoreError, ClientError
from botocore.validate import ParamValidator

from study.cluster.cluster_file import PLACEHOLDER, TOKEN_FILE, ClusterFile, FileOption
from study.console import Flag, say
from trainables.usage import UsageError

NODE_KEYS = {
    "ImageId": "Ray's default image, Ubuntu 18.04, is too old",
    "SecurityGroupIds": "Ray's own group opens port 22 to the world; run `prepare`",
    "IamInstanceProfile": "the node cannot write the results; run `prepare`",
}
"""Keys that each node_config must have, and what happens without them."""

LOOKUPS = (
    ("ImageId", "describe_images", "image-id", "Images"),
    ("SecurityGroupIds", "describe_security_groups", "group-id", "SecurityGroups"),
)
"""A key of node_config, the EC2 call that looks its value up, its filter and answer."""


def check(file: FileOption = "cluster.yaml", aws: Flag = False) -> int:
    """Show the problems of a cluster file, and its highest cost per hour.

    Starts and changes nothing. The exit code is 1 if there is a problem.

    Args:
        file: The cluster file, as for `ray up`.
        aws: If there is no problem so far, ask AWS whether image, group, roles and
            bucket exist, and whether a port is open to the world.
    """
    cluster = ClusterFile.read(file)
    problems = list(file_problems(cluster))
    hint = " (AWS not asked; use --aws)"
    if aws:
        hint = " (AWS not asked; solve them first)" if problems else ""
        problems = problems or aws_problems(cluster)
    for problem in problems:
        say(f"{file}: {problem}")
    say(cost(cluster))
    say((f"{len(problems)} problems" if problems else "no problems found") + hint)
    return 1 if problems else 0


def file_problems(file: ClusterFile) -> Iterator[str]:
    """Yield the problems that can be seen without asking AWS, one line each."""
    for number, line in enumerate(file.text.splitlines(), 1):
        for mark in PLACEHOLDER.findall(line.split("#")[0]):
            yield f"line {number}: replace the placeholder {mark} with your value"
    if file.config["provider"].get("cache_stopped_nodes") is not False:
        yield (
            "provider.cache_stopped_nodes is not false; nodes would be stopped, not "
            "terminated, and their disks go on costing"
        )
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        if "RAY_AUTH_MODE=token" not in str(file.config[key]):
            yield f"{key}: no RAY_AUTH_MODE=token before `ray start`"
    yield from _mount_problems(file)
    yield from _node_problems(file)


def _mount_problems(file: ClusterFile) -> Iterator[str]:
    """Yield missing files, and another Ray in constraints.txt than on this machine."""
    mounts = file.config["file_mounts"]
    if TOKEN_FILE not in mounts:
        yield f"file_mounts: no {TOKEN_FILE}; workers could not join the cluster"
    for remote, local in mounts.items():
        path = Path(str(local)).expanduser()
        if not path.exists():
            yield f"file_mounts.{remote}: {local} does not exist in {Path.cwd()}"
        elif remote == TOKEN_FILE and not path.read_text().strip():
            yield f"file_mounts.{remote}: {local} is empty; `prepare` fills it"
        elif path.name == "constraints.txt":
            here = importlib.metadata.version("ray")
            for version in re.findall(r"(?m)^ray==(\S+)", path.read_text()):
                if version != here:
                    yield (
                        f"Ray is {here} here and {version} on the cluster; run "
                        f"pip install -c {local} -e '.[cluster]'"
                    )


def _node_problems(file: ClusterFile) -> Iterator[str]:
    """Yield missing keys, and what EC2 would refuse by botocore's model of it."""
    ec2 = botocore.session.get_session().get_service_model("ec2")
    shape = ec2.operation_model("RunInstances").input_shape
    for name, config in file.node_configs.items():
        for key, reason in NODE_KEYS.items():
            if not config.get(key):
                yield f"{name}.node_config: no {key}; {reason}"
        # Ray chooses one of SubnetIds, which EC2 does not know, and adds the counts
        arguments = {k: v for k, v in config.items() if k != "SubnetIds"}
        arguments |= {"MinCount": 1, "MaxCount": 1}
        report = ParamValidator().validate(arguments, shape).generate_report()
        for line in report.splitlines():
            yield f"{name}.node_config: {line.split(', must be one of')[0]}"


def aws_problems(file: ClusterFile) -> list[str]:
    """Return what does not exist on AWS, or is open to the world, one line each.

    The file must have no other problems.

    Raises:
        UsageError: AWS does not answer, or the file has no bucket or region.
    """
    try:
        return [*_ec2_problems(file), *_storage_problems(file)]
    except (BotoCoreError, ClientError) as error:
        raise UsageError(f"AWS does not answer: {error}") from None


def _ec2_problems(file: ClusterFile) -> Iterator[str]:
    ec2 = file.client("ec2")
    for key, call, name, answer in LOOKUPS:
        values = [config[key] for config in file.node_configs.values()]
        ids = {i for v in values for i in ([v] if isinstance(v, str) else v)}
        for value in sorted(ids):
            filters = [{"Name": name, "Values": [value]}]
            matches = getattr(ec2, call)(Filters=filters)[answer]
            if not matches:
                yield f"{key}: {value} does not exist in {ec2.meta.region_name}"
            for rule in [r for m in matches for r in m.get("IpPermissions", [])]:
                ports = f"{rule.get('FromPort', 0)}-{rule.get('ToPort', 65535)}"
                for source in [*rule["IpRanges"], *rule["Ipv6Ranges"]]:
                    network = source.get("CidrIp") or source["CidrIpv6"]
                    if network.endswith("/0"):
                        yield f"{value}: ports {ports} are open to the world, {network}"


def _storage_problems(file: ClusterFile) -> Iterator[str]:
    """Yield the bucket and the roles that do not exist."""
    bucket, _ = file.results_location()
    try:
        file.client("s3").head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise
        yield f"metadata.results: bucket {bucket} does not exist"
    iam = file.client("iam")
    for kind, config in file.node_configs.items():
        if name := config["IamInstanceProfile"].get("Name"):
            try:
                iam.get_instance_profile(InstanceProfileName=name)
            except iam.exceptions.NoSuchEntityException:
                yield f"{kind}: role {name} does not exist; `prepare` creates it"


def cost(file: ClusterFile) -> str:
    """Return the highest cost per hour, as a line.

    The prices are the file's: AWS ends a spot worker before it costs more than its
    MaxPrice; the price of the head, and of workers on demand, is looked up by the user.
    """
    head, most = file.config["head_node_type"], file.config["max_workers"]
    total, parts = 0.0, []
    for name, kind in file.config["available_node_types"].items():
        count = 1 if name == head else min(kind["max_workers"], most)
        key = "head_price" if name == head else "worker_price"
        price = file.config.get("metadata", {}).get(key)
        try:
            market = kind["node_config"].get("InstanceMarketOptions", {})
            if market.get("MarketType") == "spot":
                key = f"{name}: SpotOptions.MaxPrice"
                price = market["SpotOptions"]["MaxPrice"]
            total += count * float(price)
        except (AttributeError, KeyError, TypeError, ValueError):
            return f"cost: unknown; set {key} in US dollars an hour"
        parts.append(f"{count} x {name} {float(price):.2f}")
    return (
        f"cost: at most ${total:.2f} an hour ({' + '.join(parts)}; prices of the "
        "file, without disks and traffic)"
    )
