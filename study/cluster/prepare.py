"""What a cluster needs of AWS before `ray up`: made once, by name, and undone by name.

The head's role may start and end nodes and give workers theirs; both may read and
write the results, and nothing else in S3. Ray's own default role may do anything to
EC2 and to every bucket, and lacks the right to give a worker a role.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from study.cluster.aws import clients, place
from study.cluster.file import TOKEN, ClusterFile, fill
from study.cluster.rules import SSH
from trainables.usage import UsageError

Tell = Callable[[str], None]

HEAD_ACTIONS = (
    "ec2:CreateTags",
    "ec2:Describe*",
    "ec2:RunInstances",
    "ec2:StartInstances",
    "ec2:StopInstances",
    "ec2:TerminateInstances",
)
"""What the autoscaler does."""

IMAGE_OWNER = "amazon"


def prepare(file: ClusterFile, tell: Tell) -> None:
    """Make the token, the roles and the security group, and fill the file in.

    Raises:
        UsageError: A value is not set, or is of no use.
    """
    source, bucket = _source(file), place(file)
    if bucket is None:
        raise UsageError(
            f"{file.path}: metadata.results is {file.setting('results')}: give "
            "s3://bucket/prefix"
        )
    client = clients(file)
    make_token(tell)
    worker = _role(client("iam"), f"{file.name}-worker", _storage(*bucket), tell)
    head = [
        *_storage(*bucket),
        _allow(HEAD_ACTIONS, ["*"]),
        _allow(["iam:PassRole"], [worker]),
    ]
    _role(client("iam"), f"{file.name}-head", head, tell)
    group = _group(client("ec2"), file.name, source, tell)
    _put(file, "security_group", "<SECURITY-GROUP>", group, tell)
    if file.settings.get("image") == "<IMAGE>":
        image = _image(client("ec2"), file.setting("image_name"))
        _put(file, "image", "<IMAGE>", image, tell)


def _source(file: ClusterFile) -> str:
    """Return who may log in.

    Raises:
        UsageError: Everybody may, or it is no network.
    """
    source = file.setting("ssh_from")
    try:
        if ipaddress.ip_network(source).prefixlen == 0:
            raise UsageError(f"metadata.ssh_from is {source}: that is the whole world")
    except ValueError as error:
        raise UsageError(f"metadata.ssh_from is no CIDR: {error}") from None
    return source


def make_token(tell: Tell) -> None:
    """Make the token that all nodes and their user share, if there is none here."""
    path = Path(TOKEN).expanduser()
    if path.exists() and path.read_text().strip():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    tell(f"made {path}")


def _put(file: ClusterFile, name: str, mark: str, value: str, tell: Tell) -> None:
    """Put a value where its placeholder is, or say where another stands."""
    if file.settings.get(name) == mark:
        fill(file.path, mark, value)
        tell(f"{file.path}: {mark} is {value}")
    elif file.settings.get(name) != value:
        tell(f"{file.path}: metadata.{name} is not {value}: left as it is")


def _allow(actions: Any, things: list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": things}


def _storage(bucket: str, prefix: str) -> list[dict[str, Any]]:
    """Return what reading and writing the results takes."""
    below = "/".join(filter(None, (bucket, prefix, "*")))
    return [
        _allow(
            ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            [f"arn:aws:s3:::{below}"],
        ),
        _allow(["s3:ListBucket", "s3:GetBucketLocation"], [f"arn:aws:s3:::{bucket}"]),
    ]


def _role(iam: Any, name: str, statements: list[dict[str, Any]], tell: Tell) -> str:
    """Make a role and its profile, or give those there these rights; return its ARN."""
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "ec2.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
        tell(f"made role {name}")
    rights = {"Version": "2012-10-17", "Statement": statements}
    iam.put_role_policy(
        RoleName=name, PolicyName=name, PolicyDocument=json.dumps(rights)
    )
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_instance_profile(InstanceProfileName=name)
    profile = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    if not profile["Roles"]:
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    arn: str = iam.get_role(RoleName=name)["Role"]["Arn"]
    return arn


def _group(ec2: Any, name: str, source: str, tell: Tell) -> str:
    """Make the security group, in the default VPC, and give it these two rules only."""
    vpcs = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])
    if not vpcs["Vpcs"]:
        raise UsageError(
            "there is no default VPC in this region: make a security group in yours, "
            "and put its id into metadata.security_group"
        )
    vpc = vpcs["Vpcs"][0]["VpcId"]
    mine = [
        {"Name": "vpc-id", "Values": [vpc]},
        {"Name": "group-name", "Values": [name]},
    ]
    found = ec2.describe_security_groups(Filters=mine)["SecurityGroups"]
    if found:
        group = found[0]["GroupId"]
        if old := found[0]["IpPermissions"]:
            ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=old)
    else:
        made = ec2.create_security_group(
            GroupName=name,
            VpcId=vpc,
            Description="SSH from one place, and all among the nodes of a Ray cluster",
        )
        group = made["GroupId"]
        tell(f"made security group {name}, {group}")
    key = "Ipv6Ranges" if ":" in source else "IpRanges"
    inner = "CidrIpv6" if ":" in source else "CidrIp"
    ssh = {"IpProtocol": "tcp", "FromPort": SSH, "ToPort": SSH, key: [{inner: source}]}
    among = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[ssh, among])
    return str(group)


def _image(ec2: Any, name: str) -> str:
    """Return the id that an image has in the region.

    Raises:
        UsageError: There is none of that name.
    """
    asked = [{"Name": "name", "Values": [name]}]
    found = ec2.describe_images(Owners=[IMAGE_OWNER], Filters=asked)["Images"]
    if not found:
        raise UsageError(
            f"metadata.image_name is {name!r}: {IMAGE_OWNER} has none of that name in "
            "this region (old ones go): choose a newer date"
        )
    return str(found[0]["ImageId"])


def remove(file: ClusterFile, tell: Tell) -> None:
    """Delete the roles and the security group that `prepare` made.

    Raises:
        UsageError: Nodes still have them.
    """
    from botocore.exceptions import ClientError

    client = clients(file)
    iam, ec2 = client("iam"), client("ec2")
    asked = [{"Name": "group-name", "Values": [file.name]}]
    for group in ec2.describe_security_groups(Filters=asked)["SecurityGroups"]:
        try:
            ec2.delete_security_group(GroupId=group["GroupId"])
        except ClientError as error:
            raise UsageError(f"`ray down {file.path}` first: {error}") from None
        tell(f"deleted security group {group['GroupId']}")
    for name in (f"{file.name}-head", f"{file.name}-worker"):
        with contextlib.suppress(iam.exceptions.NoSuchEntityException):
            iam.remove_role_from_instance_profile(
                InstanceProfileName=name, RoleName=name
            )
        with contextlib.suppress(iam.exceptions.NoSuchEntityException):
            iam.delete_instance_profile(InstanceProfileName=name)
        with contextlib.suppress(iam.exceptions.NoSuchEntityException):
            iam.delete_role_policy(RoleName=name, PolicyName=name)
            iam.delete_role(RoleName=name)
            tell(f"deleted role {name}")
