"""Find problems in a cluster file that Ray does not report, and compute its cost.

Ray validates the keys that it reads. The checks in this module find other problems:

- values that EC2 would refuse only after the head node has started to cost money,
- ports that are open to the world,
- a missing token, or other missing files,
- nodes that are stopped instead of terminated, so that their disks still cost money.
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
from study.cluster.prepare import is_own_group, is_own_role
from study.console import Flag, say
from trainables.usage import UsageError

# keys that each node_config must have, and what goes wrong without the key
NODE_KEYS = {
    "ImageId": "Ray's default image, Ubuntu 18.04, is too old; run `prepare`",
    "SecurityGroupIds": "Ray's own group opens port 22 to the world; run `prepare`",
    "IamInstanceProfile": "the node cannot write the results; run `prepare`",
}

# the program that terminates a node that nobody needs any more
WATCHDOG = "study/cluster/watchdog.py"

# how to look up a value on EC2: its node_config key, the call, the filter of the call,
# and the key of the answer
LOOKUPS = (
    ("ImageId", "describe_images", "image-id", "Images"),
    ("SecurityGroupIds", "describe_security_groups", "group-id", "SecurityGroups"),
)


def check(file: FileOption = "cluster.yaml", aws: Flag = False) -> int:
    """Show the problems of a cluster file, and the cluster's highest cost per hour.

    This command starts and changes nothing. The exit code is 1 if there is a problem.

    Args:
        file: The cluster file that `ray up` will read.
        aws: Also ask AWS whether the image, the security group, the roles and the
            bucket exist, and whether a port is open to the world. If the file has
            other problems, AWS is not asked.
    """
    cluster = ClusterFile.read(file)
    problems = list(file_problems(cluster))
    hint = " (AWS was not asked; to ask AWS, use --aws)"
    if aws:
        hint = " (AWS was not asked; solve these problems first)" if problems else ""
        problems = problems or aws_problems(cluster)
    for problem in problems:
        say(f"{file}: {problem}")
    say(cost(cluster))
    say((f"{len(problems)} problems" if problems else "no problems found") + hint)
    return 1 if problems else 0


def file_problems(file: ClusterFile) -> Iterator[str]:
    """Yield one line for each problem that can be found without asking AWS."""
    for number, line in enumerate(file.text.splitlines(), 1):
        for mark in PLACEHOLDER.findall(line.split("#")[0]):
            yield f"line {number}: replace the placeholder {mark} with your value"
    if file.config["provider"].get("cache_stopped_nodes") is not False:
        yield (
            "provider.cache_stopped_nodes is not false; set it to false, because the "
            "disks of stopped nodes still cost money"
        )
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        if "RAY_AUTH_MODE=token" not in str(file.config[key]):
            yield f"{key}: no RAY_AUTH_MODE=token before `ray start`; add it"
        if WATCHDOG not in str(file.config[key]):
            yield (
                f"{key}: no {WATCHDOG}; add it, or the nodes go on costing money if "
                "the head node dies or you forget the cluster"
            )
    yield from _mount_problems(file)
    yield from _node_problems(file)


def _mount_problems(file: ClusterFile) -> Iterator[str]:
    mounts = file.config["file_mounts"]
    if TOKEN_FILE not in mounts:
        yield (
            f"file_mounts: no {TOKEN_FILE}; add it, or workers cannot join the cluster"
        )
    for remote, local in mounts.items():
        path = Path(str(local)).expanduser()
        if not path.exists():
            yield (
                f"file_mounts.{remote}: {local} does not exist in {Path.cwd()}; create "
                "it, or correct the path"
            )
        elif remote == TOKEN_FILE and not path.read_text().strip():
            yield f"file_mounts.{remote}: {local} is empty; run `prepare` to fill it"
        elif remote == TOKEN_FILE and path.stat().st_mode & 0o077:
            yield (
                f"file_mounts.{remote}: other users can read {local}; run `prepare`, "
                f"or chmod 600 {local}"
            )
        elif path.name == "constraints.txt":
            own_version = importlib.metadata.version("ray")
            for version in re.findall(r"(?m)^ray==(\S+)", path.read_text()):
                if version != own_version:
                    yield (
                        f"this machine has Ray {own_version}, but {local} installs "
                        f"{version} on the cluster; run pip install -c {local} -e ."
                    )


def _node_problems(file: ClusterFile) -> Iterator[str]:
    """Yield a line for each missing key, and for each value that EC2 would refuse."""
    # botocore's description of EC2 says which values EC2 refuses
    ec2 = botocore.session.get_session().get_service_model("ec2")
    shape = ec2.operation_model("RunInstances").input_shape
    for name, config in file.node_configs.items():
        for key, reason in NODE_KEYS.items():
            if not config.get(key):
                yield f"{name}.node_config: no {key}; {reason}"
        if config.get("InstanceInitiatedShutdownBehavior") != "terminate":
            yield (
                f"{name}.node_config: InstanceInitiatedShutdownBehavior is not "
                "terminate; set it to terminate, because a node that shuts itself down "
                "would still cost money"
            )
        # Ray chooses a subnet and then removes the key SubnetIds, which EC2 does not
        # know. Ray also adds the two counts.
        arguments = {k: v for k, v in config.items() if k != "SubnetIds"}
        arguments |= {"MinCount": 1, "MaxCount": 1}
        report = ParamValidator().validate(arguments, shape).generate_report()
        for line in report.splitlines():
            yield f"{name}.node_config: {line.split(', must be one of')[0]}"


def aws_problems(file: ClusterFile) -> list[str]:
    """Return one line for each problem that only AWS can show.

    Call this function only if `file_problems` finds no problem.

    Raises:
        UsageError: A request to AWS fails, or the file has no bucket or region.
    """
    try:
        return [*_name_problems(file), *_ec2_problems(file), *_storage_problems(file)]
    except (BotoCoreError, ClientError) as error:
        raise UsageError(
            f"a request to AWS failed; check your network and AWS credentials: {error}"
        ) from None


def _ec2_problems(file: ClusterFile) -> Iterator[str]:
    """Yield a line for each missing image or group, and each port open to the world."""
    ec2 = file.client("ec2")
    for key, call, name, answer in LOOKUPS:
        values = [config[key] for config in file.node_configs.values()]
        ids = {i for v in values for i in ([v] if isinstance(v, str) else v)}
        for value in sorted(ids):
            filters = [{"Name": name, "Values": [value]}]
            matches = getattr(ec2, call)(Filters=filters)[answer]
            if not matches:
                yield (
                    f"{key}: {value} does not exist in {ec2.meta.region_name}; correct "
                    "it in the file"
                )
            for rule in [r for m in matches for r in m.get("IpPermissions", [])]:
                ports = f"{rule.get('FromPort', 0)}-{rule.get('ToPort', 65535)}"
                for source in [*rule["IpRanges"], *rule["Ipv6Ranges"]]:
                    network = source.get("CidrIp") or source["CidrIpv6"]
                    if network.endswith("/0"):
                        yield (
                            f"{value}: ports {ports} are open to the world, {network}; "
                            "allow only your own network"
                        )


def _name_problems(file: ClusterFile) -> Iterator[str]:
    """Yield a line for each role or group of a cluster with another name."""
    iam, ec2, metadata = file.client("iam"), file.client("ec2"), file.config["metadata"]
    old = {
        key: value
        for key, name in file.roles.items()
        if (value := metadata.get(key)) not in (None, name) and is_own_role(iam, value)
    }
    group = metadata.get("security_group")
    if group and is_own_group(ec2, group, other_than=file.name):
        old["security_group"] = group
    for key, value in old.items():
        yield (
            f"metadata.{key}: {value} belongs to a cluster with another name; run "
            "`prepare` to replace it"
        )


def _storage_problems(file: ClusterFile) -> Iterator[str]:
    """Yield a line for a missing bucket, and for each missing role."""
    bucket, _ = file.results_location()
    try:
        file.client("s3").head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise
        yield f"metadata.results: bucket {bucket} does not exist; create it"
    iam = file.client("iam")
    for kind, config in file.node_configs.items():
        if name := config["IamInstanceProfile"].get("Name"):
            try:
                iam.get_instance_profile(InstanceProfileName=name)
            except iam.exceptions.NoSuchEntityException:
                yield f"{kind}: role {name} does not exist; run `prepare` to create it"


def cost(file: ClusterFile) -> str:
    """Return a line of text with the highest cost of the cluster per hour.

    The prices come from the file. A spot worker costs at most its MaxPrice, because AWS
    ends a worker whose price would exceed MaxPrice. The user looks up the other prices.
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
            return f"cost: unknown; set {key} to the price in US dollars per hour"
        parts.append(f"{count} x {name} {float(price):.2f}")
    return (
        f"cost: at most ${total:.2f} an hour ({' + '.join(parts)}; prices from the "
        "file; disks and traffic cost extra)"
    )
