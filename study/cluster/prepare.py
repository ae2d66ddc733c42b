"""Create and delete two roles and a security group on AWS for a cluster.

The head node's role may start and terminate worker nodes, and may give the workers
their role. Both roles may read and write the results, and nothing else in S3. The
cluster does not use Ray's default role, which may do anything in EC2 and S3, but may
not give the workers a role.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import json
import re
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from study.cluster.cluster_file import PLACEHOLDER, TOKEN_FILE, ClusterFile, FileOption
from study.console import Flag, say
from trainables.usage import UsageError

BUCKET_ACTIONS = ["s3:ListBucket", "s3:GetBucketLocation"]
OBJECT_ACTIONS = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
NODE_ACTIONS = [
    *("ec2:CreateTags", "ec2:Describe*", "ec2:RunInstances"),
    *("ec2:StartInstances", "ec2:StopInstances", "ec2:TerminateInstances"),
]

SPOT = "spot.amazonaws.com"  # the service of AWS that starts spot nodes
VANISH_SECONDS = 300.0  # how long to wait until AWS has ended the nodes of the group
VANISH_INTERVAL = 5.0  # seconds between two attempts to delete the security group

TAG = "plasticity-study-user"
"""The tag of everything that `prepare` creates. Its value is the user's name on AWS."""


def prepare(file: FileOption = "cluster.yaml", adopt: Flag = False) -> None:
    """Create the token, the roles and the security group, and fill in the cluster file.

    This command keeps what already exists and creates nothing that costs money. It says
    what it changes, and changes nothing that another user's `prepare` has created. To
    delete the roles and the security group, use `remove`.

    Args:
        file: The cluster file. This command replaces its placeholders for your name,
            the roles, the security group and the image.
        adopt: Also change roles and a security group that have the right names, but
            were created by another user or another program.

    Raises:
        UsageError: A setting is missing or invalid, or a role or the security group
            belongs to another user.
    """
    cluster = ClusterFile.read(file)
    ssh = _ssh_rule(cluster.setting("ssh_from"))
    bucket, prefix = cluster.results_location()
    user = _user_name(cluster)
    tags = [{"Key": TAG, "Value": user}]
    if "<USER>" in cluster.name:
        _replace(cluster, "<USER>", user)
        cluster = ClusterFile.read(file)
    iam, ec2 = cluster.client("iam"), cluster.client("ec2")
    _make_token(Path(TOKEN_FILE).expanduser())
    # check all owners before the first change on AWS, so that a refusal changes nothing
    if not adopt:
        _check_owners(iam, ec2, cluster, user)
    objects = "/".join(filter(None, (bucket, prefix, "*")))
    rights = [
        {"Action": OBJECT_ACTIONS, "Resource": f"arn:aws:s3:::{objects}"},
        {"Action": BUCKET_ACTIONS, "Resource": f"arn:aws:s3:::{bucket}"},
    ]
    worker = _create_role(iam, cluster.roles["worker_role"], rights, tags)
    rights.append({"Action": NODE_ACTIONS, "Resource": "*"})
    rights.append({"Action": ["iam:PassRole"], "Resource": worker})
    _create_role(iam, cluster.roles["head_role"], rights, tags)
    for key, name in cluster.roles.items():
        _fill(cluster, key, name, lambda old: is_own_role(iam, old))
    if any(node.get("InstanceMarketOptions") for node in cluster.node_configs.values()):
        _create_spot_role(iam)
    group_id = _create_group(ec2, cluster.name, ssh, tags)
    _fill(cluster, "security_group", group_id, lambda old: is_own_group(ec2, old))
    if cluster.config["metadata"].get("image") == "<IMAGE>":
        image_name = cluster.setting("image_name")
        filters = [{"Name": "name", "Values": [image_name]}]
        images = ec2.describe_images(Owners=["amazon"], Filters=filters)["Images"]
        if not images:
            raise UsageError(
                f"metadata.image_name: the region has no image {image_name!r}; choose "
                "an image with a newer date, because Amazon deletes old images"
            )
        _replace(cluster, "<IMAGE>", images[0]["ImageId"])


def _check_owners(iam: Any, ec2: Any, cluster: ClusterFile, user: str) -> None:
    """Check that no role or security group of the cluster belongs to another user."""
    items = [(f"role {name}", _role(iam, name)) for name in cluster.roles.values()]
    for group in _groups(ec2, cluster.name):
        items.append((f"security group {cluster.name}", group))
    for label, item in items:
        other = _tags(item).get(TAG)
        if item and other != user:
            creator = f"by {other}" if other else "by another program than `prepare`"
            raise UsageError(
                f"{label} was created {creator}, and you are {user}: choose another "
                "cluster_name, or use --adopt if it is yours"
            )


def _user_name(file: ClusterFile) -> str:
    try:
        arn = str(file.client("sts").get_caller_identity()["Arn"])
    except (BotoCoreError, ClientError) as error:
        raise UsageError(
            f"cannot ask AWS for your user name ({error}): check your network and AWS "
            "credentials"
        ) from None
    # the end of the ARN is the name; IAM allows 64 characters in the name of a role
    return re.sub("[^a-z0-9]+", "-", re.split("[:/]", arn)[-1].lower())[:32].strip("-")


def _tags(item: dict[str, Any] | None) -> dict[str, str]:
    """Return the tags of a role or a security group; {} for None."""
    return {tag["Key"]: tag["Value"] for tag in (item or {}).get("Tags", [])}


def _make_token(token: Path) -> None:
    """Create Ray's token if it does not exist, and let only this user read it."""
    token.parent.mkdir(parents=True, exist_ok=True)
    token.touch(mode=0o600)
    if stat.S_IMODE(token.stat().st_mode) & 0o077:  # Ray creates it with mode 644
        token.chmod(0o600)
        say(f"{token}: other users could read it; changed its mode to 600")
    if not token.read_text().strip():
        token.write_text(secrets.token_hex(32))
        say(f"created {token}")


def _ssh_rule(source: str) -> dict[str, Any]:
    """Return a rule of a security group that allows SSH from the network `source`."""
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


def _replace(file: ClusterFile, old: str, new: str) -> None:
    """Replace `old` in the cluster file with `new`, except in comments."""
    text = file.path.read_text()
    pattern = rf"(?m)^([^#\n]*){re.escape(old)}"
    file.path.write_text(re.sub(pattern, rf"\g<1>{new}", text))
    say(f"{file.path}: replaced {old} with {new}")


def _fill(
    file: ClusterFile, name: str, value: str, is_ours: Callable[[str], bool]
) -> None:
    """Set metadata.`name` in the cluster file to `value`.

    Keep a value that the user has set. Replace only a placeholder, or a role or group
    for which `is_ours` is true: `prepare` created it for a cluster with another name.
    """
    current = str(file.config["metadata"].get(name))
    if current == value:
        return
    if PLACEHOLDER.fullmatch(current):
        _replace(file, current, value)
    elif is_ours(current):
        _replace(file, current, value)
        say(
            f"{current} belongs to a cluster with another name and still exists; to "
            "delete it, run `remove` with a cluster file that has that name"
        )
    else:
        say(
            f"{file.path}: metadata.{name} is still {current}; to use {value}, which "
            "`prepare` created, write it into the file"
        )


def _role(iam: Any, name: str) -> dict[str, Any] | None:
    """Return AWS's description of a role, or None if there is no such role."""
    try:
        return dict(iam.get_role(RoleName=name)["Role"])
    except iam.exceptions.NoSuchEntityException:
        return None


def is_own_role(iam: Any, name: str) -> bool:
    """Return whether `prepare` has created a role, for this or another cluster."""
    return TAG in _tags(_role(iam, name))


def is_own_group(ec2: Any, group_id: str, *, other_than: str = "") -> bool:
    """Return whether `prepare` has created a security group.

    If the group has the name `other_than`, return False.
    """
    return any(
        TAG in _tags(group) and group["GroupName"] != other_than
        for group in _groups(ec2, group_id, "group-id")
    )


def _policy(statements: list[dict[str, Any]]) -> dict[str, Any]:
    allowed = [{"Effect": "Allow"} | statement for statement in statements]
    return {"Version": "2012-10-17", "Statement": allowed}


def _create_role(
    iam: Any, name: str, rights: list[dict[str, Any]], tags: list[dict[str, str]]
) -> str:
    """Create a role and its instance profile, or replace the rights of the role.

    Return the ARN of the role.
    """
    ec2 = {"Service": "ec2.amazonaws.com"}
    trust = json.dumps(_policy([{"Principal": ec2, "Action": "sts:AssumeRole"}]))
    policy = _policy(rights)
    inline = {"RoleName": name, "PolicyName": name}
    if _role(iam, name) is None:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust, Tags=tags)
        say(f"created role {name}")
    else:
        iam.tag_role(RoleName=name, Tags=tags)
        with contextlib.suppress(iam.exceptions.NoSuchEntityException):
            if iam.get_role_policy(**inline)["PolicyDocument"] != policy:
                say(f"replaced the rights of role {name}")
    iam.put_role_policy(**inline, PolicyDocument=json.dumps(policy))
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_instance_profile(InstanceProfileName=name)
    profile = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    if not profile["Roles"]:
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    return str(iam.get_role(RoleName=name)["Role"]["Arn"])


def _create_spot_role(iam: Any) -> None:
    """Create AWSServiceRoleForEC2Spot if the account does not have this role yet.

    Without this role, Ray's requests for spot nodes fail. The AWS console creates the
    role with the first spot node, but Ray does not. `remove` does not delete the role,
    because all clusters share it.
    """
    if not iam.list_roles(PathPrefix=f"/aws-service-role/{SPOT}/")["Roles"]:
        answer = iam.create_service_linked_role(AWSServiceName=SPOT)
        say(f"created role {answer['Role']['RoleName']}")


def _create_group(
    ec2: Any, name: str, ssh: dict[str, Any], tags: list[dict[str, str]]
) -> str:
    """Create the security group, or replace its rules; return its id."""
    if groups := _groups(ec2, name):
        group = str(groups[0]["GroupId"])
        ec2.create_tags(Resources=[group], Tags=tags)
        rules = groups[0]["IpPermissions"]
        if _rule_set(rules) == _rule_set([ssh, _node_rule(group)]):
            return group
        say(f"replaced the rules of security group {name}, {group}")
        if rules:
            ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=rules)
    else:
        about = "SSH from one network, and all traffic among the nodes of a Ray cluster"
        kind = {"ResourceType": "security-group", "Tags": tags}
        try:
            answer = ec2.create_security_group(
                GroupName=name, Description=about, TagSpecifications=[kind]
            )
        except ClientError as error:  # the account can lack a default VPC
            raise UsageError(
                "cannot create a security group; create one in your VPC and set "
                f"metadata.security_group to its id: {error}"
            ) from None
        group = str(answer["GroupId"])
        say(f"created security group {name}, {group}")
    rules = [ssh, _node_rule(group)]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rules)
    return group


def _node_rule(group: str) -> dict[str, Any]:
    """Return a rule that allows all traffic between the members of a group."""
    return {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}


def _rule_set(rules: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    """Return a set of the protocol, ports and source of each rule, to compare rules."""
    sources = {"IpRanges": "CidrIp", "Ipv6Ranges": "CidrIpv6"}
    sources |= {"UserIdGroupPairs": "GroupId"}
    return {
        (rule["IpProtocol"], rule.get("FromPort"), rule.get("ToPort"), source.get(key))
        for rule in rules
        for list_key, key in sources.items()
        for source in rule.get(list_key, [])
    }


def _groups(ec2: Any, value: str, key: str = "group-name") -> Any:
    filters = [{"Name": key, "Values": [value]}]
    return ec2.describe_security_groups(Filters=filters)["SecurityGroups"]


def remove(file: FileOption = "cluster.yaml", adopt: Flag = False) -> None:
    """Delete the roles and the security group that `prepare` created.

    Args:
        file: The cluster file, which has the cluster's name.
        adopt: Also delete what has the right name, but was created by another user or
            another program.

    Raises:
        UsageError: Nodes still use the security group, or a role or the group belongs
            to another user.
    """
    cluster = ClusterFile.read(file)
    iam, ec2 = cluster.client("iam"), cluster.client("ec2")
    user = _user_name(cluster)
    if not adopt:
        _check_owners(iam, ec2, cluster, user)
    for group in _groups(ec2, cluster.name):
        _delete_group(ec2, group["GroupId"], file)
        say(f"deleted security group {group['GroupId']}")
    for name in cluster.roles.values():
        role, profile = {"RoleName": name}, {"InstanceProfileName": name}
        for delete, arguments in (
            (iam.remove_role_from_instance_profile, profile | role),
            (iam.delete_instance_profile, profile),
            (iam.delete_role_policy, role | {"PolicyName": name}),
            (iam.delete_role, role),
        ):  # an interrupted `remove` can have deleted some of these already
            with contextlib.suppress(iam.exceptions.NoSuchEntityException):
                delete(**arguments)
        say(f"deleted role {name}")


def _delete_group(ec2: Any, group: str, file: str) -> None:
    """Wait until nodes that are ending no longer use a security group, then delete it.

    Raises:
        UsageError: Nodes run in the group, or AWS refuses to delete the group for
            longer than `VANISH_SECONDS`.
    """
    filters = [
        {"Name": "instance.group-id", "Values": [group]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "stopped"]},
    ]
    if ec2.describe_instances(Filters=filters)["Reservations"]:
        raise UsageError(
            f"nodes still use the security group {group}; run `ray down {file}` first"
        )

    start = time.monotonic()
    for attempt in itertools.count():
        try:
            ec2.delete_security_group(GroupId=group)
            return
        except ClientError as error:
            is_in_use = error.response["Error"]["Code"] == "DependencyViolation"
            if not is_in_use or time.monotonic() - start >= VANISH_SECONDS:
                raise UsageError(
                    f"cannot delete the security group {group}; run `remove` again "
                    f"later: {error}"
                ) from None
        if attempt == 0:
            say("Waiting until AWS has ended the nodes.")
        time.sleep(VANISH_INTERVAL)
