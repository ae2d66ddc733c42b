"""Problems of a cluster file that only AWS knows; nothing is changed.

Credentials come from where the AWS command line keeps them.
"""

from __future__ import annotations

import functools
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

from study.cluster.checks import open_to_world
from study.cluster.cluster_file import ClusterFile, as_mapping, is_set
from trainables.usage import UsageError

try:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    raise UsageError(
        "boto3 is not installed; run pip install -c constraints.txt -e '.[cluster]'"
    ) from None

LOOKUPS = (
    ("ImageId", "describe_images", "image-id", "Images"),
    (
        "InstanceType",
        "describe_instance_type_offerings",
        "instance-type",
        "InstanceTypeOfferings",
    ),
    ("SecurityGroupIds", "describe_security_groups", "group-id", "SecurityGroups"),
)
"""A key of node_config, the EC2 call that looks its value up, its filter and answer."""


def clients(file: ClusterFile) -> Callable[[str], Any]:
    """Return a function that makes the client of a service in the cluster's region.

    Raises:
        UsageError: The file names no region.
    """
    if not file.region:
        raise UsageError(f"{file.path}: provider.region is missing")
    return functools.partial(boto3.client, region_name=file.region)


def results_location(file: ClusterFile) -> tuple[str, str]:
    """Return the bucket and the prefix of the results.

    Raises:
        UsageError: metadata.results is not an s3:// URI.
    """
    parts = urllib.parse.urlsplit(file.setting("results"))
    if parts.scheme != "s3" or not parts.netloc:
        raise UsageError(f"{file.path}: metadata.results: give s3://bucket/prefix")
    return parts.netloc, parts.path.strip("/")


def problems(file: ClusterFile) -> list[str]:
    """Return what does not exist on AWS, or is open to the world, one line each.

    Raises:
        UsageError: AWS does not answer, or the file has no bucket or region.
    """
    client = clients(file)
    try:
        lines = [*_ec2(file, client("ec2")), *_bucket(file, client("s3"))]
        return [*lines, *_roles(file, client("iam"))]
    except (BotoCoreError, ClientError) as error:
        raise UsageError(f"AWS does not answer: {error}") from None


def _ec2(file: ClusterFile, ec2: Any) -> Iterator[str]:
    for key, call, name, answer in LOOKUPS:
        values = [config.get(key) for config in file.node_configs.values()]
        names = {
            v
            for value in values
            for v in ([value] if isinstance(value, str) else value or [])
        }
        for value in sorted(filter(is_set, names)):
            filters = [{"Name": name, "Values": [value]}]
            matches = getattr(ec2, call)(Filters=filters)[answer]
            if not matches:
                yield f"{key}: {value} does not exist in {file.region}"
            for match in matches:
                for rule in match.get("IpPermissions", []):
                    yield from open_to_world(rule, f"security group {value}")


def _bucket(file: ClusterFile, s3: Any) -> Iterator[str]:
    bucket, _ = results_location(file)
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise
        yield f"metadata.results: bucket {bucket} does not exist"


def _roles(file: ClusterFile, iam: Any) -> Iterator[str]:
    for path, config in file.node_configs.items():
        name = as_mapping(config.get("IamInstanceProfile")).get("Name")
        try:
            if name:
                iam.get_instance_profile(InstanceProfileName=name)
        except iam.exceptions.NoSuchEntityException:
            yield f"{path}: role {name} does not exist; `prepare` creates it"
