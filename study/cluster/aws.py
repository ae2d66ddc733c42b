"""What AWS itself says of a cluster's file; nothing is changed.

Credentials come from where the AWS command line has them.
"""

from __future__ import annotations

import fnmatch
import json
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

from study.cluster.file import PLACEHOLDER, ClusterFile
from study.cluster.rules import region, world_in
from trainables.usage import UsageError

NEEDED = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")
"""What a worker does to records and checkpoints."""


def clients(file: ClusterFile) -> Callable[[str], Any]:
    """Return what makes boto3's clients for the cluster's region.

    Raises:
        UsageError: There is no boto3, or no region.
    """
    try:
        import boto3
    except ImportError:
        raise UsageError(
            "boto3 is not installed: pip install -c constraints.txt -e '.[cluster]'"
        ) from None
    where = region(file)
    if not where:
        raise UsageError(f"{file.path}: provider.region is missing")
    return lambda service: boto3.client(service, region_name=where)


def findings(file: ClusterFile) -> list[str]:
    """Return what AWS finds wrong, a line each.

    Raises:
        UsageError: AWS cannot be asked.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    client = clients(file)
    found: list[str] = []
    for rule in (_images, _types, _groups, _bucket, _roles):
        try:
            found.extend(rule(file, client))
        except (BotoCoreError, ClientError) as error:
            raise UsageError(f"AWS cannot be asked: {error}") from None
    return list(dict.fromkeys(found))


def _set(value: Any) -> bool:
    return value is not None and not PLACEHOLDER.search(str(value))


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _each(file: ClusterFile, key: str) -> dict[str, str]:
    """Return where each value of a key of the node configs stands first."""
    found: dict[str, str] = {}
    for name in file.node_types:
        held = file.node_config(name).get(key)
        for value in held if isinstance(held, list) else [held]:
            if _set(value):
                where = f"available_node_types.{name}.node_config.{key}"
                found.setdefault(str(value), where)
    return found


def _images(file: ClusterFile, client: Callable[[str], Any]) -> Iterator[str]:
    """The image does not exist in the region."""
    from botocore.exceptions import ClientError

    for image, where in _each(file, "ImageId").items():
        try:
            found = client("ec2").describe_images(ImageIds=[image])["Images"]
        except ClientError as error:
            if not _code(error).startswith("InvalidAMIID"):
                raise
            found = []
        if not found:
            yield f"{where}: there is no {image} in {region(file)}"


def _types(file: ClusterFile, client: Callable[[str], Any]) -> Iterator[str]:
    """The region does not offer such machines."""
    for kind, where in _each(file, "InstanceType").items():
        asked = [{"Name": "instance-type", "Values": [kind]}]
        offers = client("ec2").describe_instance_type_offerings(Filters=asked)
        if not offers["InstanceTypeOfferings"]:
            yield f"{where}: {region(file)} offers no {kind}"


def _groups(file: ClusterFile, client: Callable[[str], Any]) -> Iterator[str]:
    """The security group is not there, or lets the world in."""
    from botocore.exceptions import ClientError

    for group, where in _each(file, "SecurityGroupIds").items():
        try:
            found = client("ec2").describe_security_groups(GroupIds=[group])
        except ClientError as error:
            if not _code(error).startswith("InvalidGroup"):
                raise
            yield f"{where}: there is no security group {group} in {region(file)}"
            continue
        for rule in found["SecurityGroups"][0]["IpPermissions"]:
            yield from world_in(rule, f"security group {group}")


def place(file: ClusterFile) -> tuple[str, str] | None:
    """Return the bucket and the prefix of the results; None: they are not set."""
    results = file.settings.get("results")
    if not _set(results):
        return None
    parts = urllib.parse.urlsplit(str(results))
    return (parts.netloc, parts.path.strip("/")) if parts.scheme == "s3" else None


def _bucket(file: ClusterFile, client: Callable[[str], Any]) -> Iterator[str]:
    """The results' bucket is not there."""
    from botocore.exceptions import ClientError

    if where := place(file):
        try:
            client("s3").head_bucket(Bucket=where[0])
        except ClientError as error:
            if _code(error) not in ("404", "NoSuchBucket"):
                raise
            yield f"metadata.results: there is no bucket {where[0]}"


def _roles(file: ClusterFile, client: Callable[[str], Any]) -> Iterator[str]:
    """The nodes' role is not there, or may not write to the results."""
    from botocore.exceptions import ClientError

    where = place(file)
    for name in file.node_types:
        profile = file.node_config(name).get("IamInstanceProfile")
        called = profile.get("Name") if isinstance(profile, dict) else None
        if not _set(called):
            continue
        key = f"available_node_types.{name}.node_config.IamInstanceProfile"
        try:
            found = client("iam").get_instance_profile(InstanceProfileName=called)
        except ClientError as error:
            if _code(error) != "NoSuchEntity":
                raise
            yield f"{key}: there is no {called}: `prepare` makes it"
            continue
        statements = [
            statement
            for role in found["InstanceProfile"]["Roles"]
            for policy in _policies(client("iam"), role["RoleName"])
            for statement in _list(policy.get("Statement"))
        ]
        thing = where and f"arn:aws:s3:::{'/'.join(filter(None, where))}/x/records/y"
        lacking = [a for a in NEEDED if thing and not allowed(statements, a, thing)]
        if lacking:
            yield (
                f"{key}: {called} cannot write to {'/'.join(where or ())}: its role "
                f"lacks {', '.join(lacking)}"
            )


def _policies(iam: Any, role: str) -> Iterator[dict[str, Any]]:
    """Yield the policies of a role, its own and attached ones."""
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        yield _document(iam.get_role_policy(RoleName=role, PolicyName=name))
    attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    for policy in attached:
        arn = policy["PolicyArn"]
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        held = iam.get_policy_version(PolicyArn=arn, VersionId=version)
        yield _document({"PolicyDocument": held["PolicyVersion"]["Document"]})


def _document(answer: dict[str, Any]) -> dict[str, Any]:
    document = answer["PolicyDocument"]
    held: dict[str, Any] = (
        json.loads(document) if isinstance(document, str) else document
    )
    return held


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []


def allowed(statements: list[dict[str, Any]], action: str, thing: str) -> bool:
    """Tell whether some policies allow an action on a thing; conditions aside.

    >>> every = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    >>> allowed([every], "s3:PutObject", "arn:aws:s3:::b/x")
    True
    >>> none = {"Effect": "Deny", "Action": "s3:Put*", "Resource": "arn:aws:s3:::b/*"}
    >>> allowed([every, none], "s3:PutObject", "arn:aws:s3:::b/x")
    False
    """

    def meets(statement: dict[str, Any]) -> bool:
        actions, things = (
            _list(statement.get("Action")),
            _list(statement.get("Resource")),
        )
        return any(
            fnmatch.fnmatchcase(action.lower(), a.lower()) for a in actions
        ) and any(fnmatch.fnmatchcase(thing, t) for t in things)

    met = {statement.get("Effect") for statement in statements if meets(statement)}
    return met == {"Allow"}
