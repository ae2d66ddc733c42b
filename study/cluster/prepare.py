"""Create and delete two roles and a security group on AWS for a cluster.

The head node's role may start and terminate worker nodes, and may give the workers
their role. Both roles may read and write the results, and nothing else in S3. Ray's
default role is not used: it may do anything in EC2 and S3, but may not give the workers
a role.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import secrets
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from study.cluster.cluster_file import TOKEN_FILE, ClusterFile, FileOption
from study.console import say
from trainables.usage import UsageError

BUCKET_ACTIONS = ["s3:ListBucket", "s3:GetBucketLocation"]
OBJECT_ACTIONS = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
NODE_ACTIONS = [
    *("ec2:CreateTags", "ec2:Describe*", "ec2:RunInstances"),
    *("ec2:StartInstances", "ec2:StopInstances", "ec2:TerminateInstances"),
]


def prepare(file: FileOption = "cluster.yaml") -> None:
    """Create the token, the roles and the security group, and fill in the cluster file.

    This command keeps what already exists and creates nothing that costs money. To
    delete the roles and the security group, use `remove`.

    Args:
        file: The cluster file. This command replaces its placeholders for the security
            group and the image.

    Raises:
        UsageError: A setting is missing or invalid.
    """
    cluster = ClusterFile.read(file)
    ssh = _ssh_rule(cluster.setting("ssh_from"))
    bucket, prefix = cluster.results_location()
    iam, ec2 = cluster.client("iam"), cluster.client("ec2")
    token = Path(TOKEN_FILE).expanduser()
    if not token.exists() or not token.read_text().strip():
        token.parent.mkdir(parents=True, exist_ok=True)
        token.touch(mode=0o600)  # only for this user
        token.write_text(secrets.token_hex(32))
        say(f"created {token}")
    objects = "/".join(filter(None, (bucket, prefix, "*")))
    rights = [
        {"Action": OBJECT_ACTIONS, "Resource": f"arn:aws:s3:::{objects}"},
        {"Action": BUCKET_ACTIONS, "Resource": f"arn:aws:s3:::{bucket}"},
    ]
    worker = _create_role(iam, f"{cluster.name}-worker", rights)
    rights.append({"Action": NODE_ACTIONS, "Resource": "*"})
    rights.append({"Action": ["iam:PassRole"], "Resource": worker})
    _create_role(iam, f"{cluster.name}-head", rights)
    group = _create_group(ec2, cluster.name, ssh)
    _fill(cluster, "security_group", "<SECURITY-GROUP>", group)
    metadata = cluster.config["metadata"]
    if metadata.get("image") == "<IMAGE>":
        filters = [{"Name": "name", "Values": [cluster.setting("image_name")]}]
        images = ec2.describe_images(Owners=["amazon"], Filters=filters)["Images"]
        if not images:
            raise UsageError(
                "metadata.image_name: the region has no image "
                f"{metadata['image_name']!r}; choose an image with a newer date, "
                "because Amazon deletes old images"
            )
        _fill(cluster, "image", "<IMAGE>", images[0]["ImageId"])


def _ssh_rule(source: str) -> dict[str, Any]:
    """Return a security group's rule that allows SSH from the network `source`."""
    try:
        network = ipaddress.ip_network(source)
        if network.prefixlen == 0:
            raise ValueError("port 22 would be open to the world")
    except ValueError as error:
        raise UsageError(
            f"metadata.ssh_from is {source}: {error}; give your network, for example "
            "203.0.113.7/32"
        ) from None
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
    if network.version == 6:
        return rule | {"Ipv6Ranges": [{"CidrIpv6": source}]}
    return rule | {"IpRanges": [{"CidrIp": source}]}


def _fill(file: ClusterFile, name: str, placeholder: str, value: str) -> None:
    """Replace a placeholder in the cluster file with `value`, except in comments.

    If metadata.`name` is not the placeholder but another value, keep that value.
    """
    current = file.config["metadata"].get(name)
    if current == placeholder:
        text = file.path.read_text()
        pattern = rf"(?m)^([^#\n]*){placeholder}"
        file.path.write_text(re.sub(pattern, rf"\g<1>{value}", text))
        say(f"{file.path}: replaced {placeholder} with {value}")
    elif current != value:
        say(
            f"{file.path}: metadata.{name} is still {current}; to use {value}, which "
            "`prepare` created, write it into the file"
        )


def _create_role(iam: Any, name: str, rights: list[dict[str, Any]]) -> str:
    """Create a role and its instance profile, and return the role's ARN.

    If the role already exists, replace its rights.
    """

    def policy(statements: list[dict[str, Any]]) -> str:
        allowed = [{"Effect": "Allow"} | statement for statement in statements]
        return json.dumps({"Version": "2012-10-17", "Statement": allowed})

    ec2 = {"Service": "ec2.amazonaws.com"}
    trust = policy([{"Principal": ec2, "Action": "sts:AssumeRole"}])
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
        say(f"created role {name}")
    iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=policy(rights))
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_instance_profile(InstanceProfileName=name)
    profile = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    if not profile["Roles"]:
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    return str(iam.get_role(RoleName=name)["Role"]["Arn"])


def _create_group(ec2: Any, name: str, ssh: dict[str, Any]) -> str:
    """Create the security group and return its id.

    If the group already exists, replace its rules.
    """
    if groups := _groups(ec2, name):
        group = groups[0]["GroupId"]
        if rules := groups[0]["IpPermissions"]:
            ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=rules)
    else:
        about = "SSH from one network, and all traffic among the nodes of a Ray cluster"
        try:
            answer = ec2.create_security_group(GroupName=name, Description=about)
        except ClientError as error:  # the account may have no default VPC
            raise UsageError(
                "cannot create a security group; create one in your VPC and set "
                f"metadata.security_group to its id: {error}"
            ) from None
        group = answer["GroupId"]
        say(f"created security group {name}, {group}")
    nodes = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[ssh, nodes])
    return str(group)


def _groups(ec2: Any, name: str) -> Any:
    filters = [{"Name": "group-name", "Values": [name]}]
    return ec2.describe_security_groups(Filters=filters)["SecurityGroups"]


def remove(file: FileOption = "cluster.yaml") -> None:
    """Delete the roles and the security group that `prepare` created.

    Args:
        file: The cluster file, which has the cluster's name.

    Raises:
        UsageError: Nodes still use the security group.
    """
    cluster = ClusterFile.read(file)
    iam, ec2 = cluster.client("iam"), cluster.client("ec2")
    for group in _groups(ec2, cluster.name):
        try:
            ec2.delete_security_group(GroupId=group["GroupId"])
        except ClientError as error:
            raise UsageError(
                "cannot delete the security group; run `ray down "
                f"{file}` first: {error}"
            ) from None
        say(f"deleted security group {group['GroupId']}")
    for name in (f"{cluster.name}-head", f"{cluster.name}-worker"):
        role, profile = {"RoleName": name}, {"InstanceProfileName": name}
        for delete, arguments in (
            (iam.remove_role_from_instance_profile, profile | role),
            (iam.delete_instance_profile, profile),
            (iam.delete_role_policy, role | {"PolicyName": name}),
            (iam.delete_role, role),
        ):  # an interrupted `remove` may already have deleted some of these
            with contextlib.suppress(iam.exceptions.NoSuchEntityException):
                delete(**arguments)
        say(f"deleted role {name}")
