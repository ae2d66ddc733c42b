"""Create and delete what a cluster needs on AWS: two roles and a security group.

The head's role may start and terminate nodes and pass the workers' role to them. Both
roles may read and write the results, and nothing else in S3. (Ray's default role may do
anything in EC2 and S3, and may not pass a role.)
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from study.cluster.aws import clients, results_location
from study.cluster.checks import SSH_PORT, ssh_source_problems
from study.cluster.cluster_file import TOKEN_FILE, ClusterFile
from study.console import say
from trainables.usage import UsageError

BUCKET_ACTIONS = ["s3:ListBucket", "s3:GetBucketLocation"]
OBJECT_ACTIONS = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
NODE_ACTIONS = [
    "ec2:CreateTags",
    "ec2:Describe*",
    "ec2:RunInstances",
    "ec2:StartInstances",
    "ec2:StopInstances",
    "ec2:TerminateInstances",
]


def prepare(file: ClusterFile) -> None:
    """Create the token, the roles and the security group, and fill in the file.

    Raises:
        UsageError: A setting is missing or cannot be used.
    """
    source, (bucket, prefix) = file.setting("ssh_from"), results_location(file)
    for problem in ssh_source_problems(source):
        raise UsageError(problem)
    client = clients(file)
    iam, ec2 = client("iam"), client("ec2")
    create_token()
    objects = "/".join(filter(None, (bucket, prefix, "*")))
    rights = [
        _right(OBJECT_ACTIONS, f"arn:aws:s3:::{objects}"),
        _right(BUCKET_ACTIONS, f"arn:aws:s3:::{bucket}"),
    ]
    worker = _create_role(iam, f"{file.name}-worker", rights)
    rights += [_right(NODE_ACTIONS, "*"), _right(["iam:PassRole"], worker)]
    _create_role(iam, f"{file.name}-head", rights)
    group = _create_group(ec2, file.name, source)
    _fill(file, "security_group", "<SECURITY-GROUP>", group)
    if file.mapping("metadata").get("image") == "<IMAGE>":
        _fill(file, "image", "<IMAGE>", _find_image(ec2, file.setting("image_name")))


def create_token() -> None:
    """Create the token that the nodes and their user share, if there is none here."""
    path = Path(TOKEN_FILE).expanduser()
    if path.exists() and path.read_text().strip():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    say(f"created {path}")


def _fill(file: ClusterFile, name: str, placeholder: str, value: str) -> None:
    """Replace a placeholder, except in comments, unless another value stands there."""
    current = file.mapping("metadata").get(name)
    if current == placeholder:
        text = file.path.read_text()
        pattern = rf"(?m)^([^#\n]*){placeholder}"
        file.path.write_text(re.sub(pattern, rf"\g<1>{value}", text))
        say(f"{file.path}: {placeholder} is now {value}")
    elif current != value:
        say(f"{file.path}: metadata.{name} stays {current}; `prepare` made {value}")


def _right(actions: list[str], resource: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resource}


def _policy(statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _create_role(iam: Any, name: str, rights: list[dict[str, Any]]) -> str:
    """Create a role and its instance profile, or renew its rights; return its ARN."""
    ec2 = {"Service": "ec2.amazonaws.com"}
    trust = [{"Effect": "Allow", "Principal": ec2, "Action": "sts:AssumeRole"}]
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=_policy(trust))
        say(f"created role {name}")
    iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=_policy(rights))
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_instance_profile(InstanceProfileName=name)
    profile = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    if not profile["Roles"]:
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    return str(iam.get_role(RoleName=name)["Role"]["Arn"])


def _create_group(ec2: Any, name: str, source: str) -> str:
    """Create the security group, or renew its rules; return its id."""
    if groups := _groups(ec2, name):
        group = groups[0]["GroupId"]
        if rules := groups[0]["IpPermissions"]:
            ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=rules)
    else:
        about = "SSH from one network, and all traffic among the nodes of a Ray cluster"
        try:
            answer = ec2.create_security_group(GroupName=name, Description=about)
        except ClientError as error:  # without a VPC's id it is the default one
            raise UsageError(
                "no security group was created; create one in your VPC and put its id "
                f"into metadata.security_group: {error}"
            ) from None
        group = answer["GroupId"]
        say(f"created security group {name}, {group}")
    ssh = {"IpProtocol": "tcp", "FromPort": SSH_PORT, "ToPort": SSH_PORT}
    if ":" in source:
        ssh["Ipv6Ranges"] = [{"CidrIpv6": source}]
    else:
        ssh["IpRanges"] = [{"CidrIp": source}]
    nodes = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[ssh, nodes])
    return str(group)


def _groups(ec2: Any, name: str) -> list[dict[str, Any]]:
    filters = [{"Name": "group-name", "Values": [name]}]
    groups: list[dict[str, Any]]
    groups = ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
    return groups


def _find_image(ec2: Any, name: str) -> str:
    """Return the id of one of Amazon's images in the region.

    Raises:
        UsageError: The region has no image of this name.
    """
    filters = [{"Name": "name", "Values": [name]}]
    images = ec2.describe_images(Owners=["amazon"], Filters=filters)["Images"]
    if not images:
        raise UsageError(
            f"metadata.image_name: the region has no image {name!r}; choose a newer "
            "date, Amazon deletes old images"
        )
    return str(images[0]["ImageId"])


def remove(file: ClusterFile) -> None:
    """Delete the roles and the security group that `prepare` created.

    Raises:
        UsageError: Nodes still use the security group.
    """
    client = clients(file)
    iam, ec2 = client("iam"), client("ec2")
    for group in _groups(ec2, file.name):
        try:
            ec2.delete_security_group(GroupId=group["GroupId"])
        except ClientError as error:
            raise UsageError(f"run `ray down {file.path}` first: {error}") from None
        say(f"deleted security group {group['GroupId']}")
    for name in (f"{file.name}-head", f"{file.name}-worker"):
        # an interrupted `remove` may have done some of these steps
        for delete, keys in (
            (
                iam.remove_role_from_instance_profile,
                ("InstanceProfileName", "RoleName"),
            ),
            (iam.delete_instance_profile, ("InstanceProfileName",)),
            (iam.delete_role_policy, ("RoleName", "PolicyName")),
            (iam.delete_role, ("RoleName",)),
        ):
            with contextlib.suppress(iam.exceptions.NoSuchEntityException):
                delete(**dict.fromkeys(keys, name))
        say(f"deleted role {name}")
