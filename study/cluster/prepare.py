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
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import tenacity
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


SPOT = "spot.amazonaws.com"
"""The service of AWS that starts spot nodes, with the role AWSServiceRoleForEC2Spot."""

VANISH_SECONDS = 300.0
"""Seconds to wait until AWS has ended the nodes that use the security group."""

VANISH_INTERVAL = 5.0
"""Seconds between two attempts to delete the security group."""

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
    owner = Owner(_user_name(cluster), adopt)
    if "<USER>" in cluster.name:
        _replace(cluster, "<USER>", owner.name)
        cluster = ClusterFile.read(file)
    iam, ec2 = cluster.client("iam"), cluster.client("ec2")
    _make_token(Path(TOKEN_FILE).expanduser())
    # check all owners before the first change on AWS, so that a refusal changes nothing
    for name in cluster.roles.values():
        if role := _role(iam, name):
            owner.check(f"role {name}", role)
    for group in _groups(ec2, cluster.name):
        owner.check(f"security group {cluster.name}", group)
    objects = "/".join(filter(None, (bucket, prefix, "*")))
    rights = [
        {"Action": OBJECT_ACTIONS, "Resource": f"arn:aws:s3:::{objects}"},
        {"Action": BUCKET_ACTIONS, "Resource": f"arn:aws:s3:::{bucket}"},
    ]
    worker = _create_role(iam, cluster.roles["worker_role"], rights, owner)
    rights.append({"Action": NODE_ACTIONS, "Resource": "*"})
    rights.append({"Action": ["iam:PassRole"], "Resource": worker})
    _create_role(iam, cluster.roles["head_role"], rights, owner)
    for key, name in cluster.roles.items():
        _fill(cluster, key, name, lambda old: is_own_role(iam, old))
    if any(
        config.get("InstanceMarketOptions") for config in cluster.node_configs.values()
    ):
        _create_spot_role(iam)
    group_id = _create_group(ec2, cluster.name, ssh, owner)
    _fill(
        cluster,
        "security_group",
        group_id,
        lambda old: is_own_group(ec2, old),
    )
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
        _replace(cluster, "<IMAGE>", images[0]["ImageId"])


@attrs.frozen
class Owner:
    """The user who runs this command.

    Attributes:
        name: The user's name on AWS.
        adopt: Whether the user takes over what belongs to another user.
    """

    name: str
    adopt: bool = False

    @property
    def tags(self) -> list[dict[str, str]]:
        """The tags of what this user creates."""
        return [{"Key": TAG, "Value": self.name}]

    def check(self, label: str, item: dict[str, Any]) -> None:
        """Check that a role or a security group belongs to this user.

        Raises:
            UsageError: The role or group belongs to another user or program, and
                `adopt` is False.
        """
        other = _tags(item).get(TAG)
        if other == self.name or self.adopt:
            return
        creator = f"by {other}" if other else "by another program than `prepare`"
        raise UsageError(
            f"{label} was created {creator}, and you are {self.name}: choose another "
            "cluster_name, or use --adopt if it is yours"
        )


def _user_name(file: ClusterFile) -> str:
    """Return the user's name on AWS (the end of the ARN) in letters, digits and '-'.

    Raises:
        UsageError: AWS does not answer, or refuses the user's credentials.
    """
    try:
        arn = str(file.client("sts").get_caller_identity()["Arn"])
    except (BotoCoreError, ClientError) as error:
        raise UsageError(
            f"cannot ask AWS for your user name ({error}): check your network and AWS "
            "credentials"
        ) from None
    # IAM allows 64 characters in the name of a role
    return re.sub("[^a-z0-9]+", "-", re.split("[:/]", arn)[-1].lower())[:32].strip("-")


def _tags(item: dict[str, Any] | None) -> dict[str, str]:
    """Return the tags of a role or a security group, or {} if it does not exist."""
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

    Replace the current value only if it is a placeholder, or if `is_ours` is true of
    the current value. In the second case, `prepare` created the role or the group for a
    cluster with another name. Any other value is the user's own.
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
    """Return AWS's description of a role, or None if the role does not exist."""
    try:
        return dict(iam.get_role(RoleName=name)["Role"])
    except iam.exceptions.NoSuchEntityException:
        return None


def is_own_role(iam: Any, name: str) -> bool:
    """Return whether `prepare` has created a role, for this or another cluster."""
    return TAG in _tags(_role(iam, name))


def is_own_group(ec2: Any, group: str, *, other_than: str = "") -> bool:
    """Return whether `prepare` has created the security group with the id `group`.

    If the group has the name `other_than`, return False.
    """
    return any(
        TAG in _tags(description) and description["GroupName"] != other_than
        for description in _groups(ec2, group, "group-id")
    )


def _policy(statements: list[dict[str, Any]]) -> dict[str, Any]:
    allowed = [{"Effect": "Allow"} | statement for statement in statements]
    return {"Version": "2012-10-17", "Statement": allowed}


def _create_role(
    iam: Any, name: str, rights: list[dict[str, Any]], owner: Owner
) -> str:
    """Create a role and its instance profile, and return the role's ARN.

    If the role already exists with other rights, replace its rights and say so.
    """
    ec2 = {"Service": "ec2.amazonaws.com"}
    trust = json.dumps(_policy([{"Principal": ec2, "Action": "sts:AssumeRole"}]))
    policy = _policy(rights)
    inline = {"RoleName": name, "PolicyName": name}
    if _role(iam, name) is None:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust, Tags=owner.tags)
        iam.put_role_policy(**inline, PolicyDocument=json.dumps(policy))
        say(f"created role {name}")
    else:
        iam.tag_role(RoleName=name, Tags=owner.tags)
        with contextlib.suppress(iam.exceptions.NoSuchEntityException):
            old = iam.get_role_policy(**inline)["PolicyDocument"]
            if old != policy:
                say(f"replaced the rights of role {name}")
        iam.put_role_policy(**inline, PolicyDocument=json.dumps(policy))
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_instance_profile(InstanceProfileName=name)
    profile = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    if not profile["Roles"]:
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    return str(iam.get_role(RoleName=name)["Role"]["Arn"])


def _create_spot_role(iam: Any) -> None:
    """Create AWSServiceRoleForEC2Spot if the account does not have it yet.

    The AWS console creates this role with the first spot node. Ray does not create the
    role, and its requests for spot nodes fail without it. `remove` does not delete this
    role, because all clusters share it.
    """
    if not iam.list_roles(PathPrefix=f"/aws-service-role/{SPOT}/")["Roles"]:
        answer = iam.create_service_linked_role(AWSServiceName=SPOT)
        say(f"created role {answer['Role']['RoleName']}")


def _create_group(ec2: Any, name: str, ssh: dict[str, Any], owner: Owner) -> str:
    """Create the security group and return its id.

    If the group already exists with other rules, replace its rules and say so.
    """
    if groups := _groups(ec2, name):
        group = str(groups[0]["GroupId"])
        ec2.create_tags(Resources=[group], Tags=owner.tags)
        rules = groups[0]["IpPermissions"]
        if _rule_set(rules) == _rule_set([ssh, _node_rule(group)]):
            return group
        say(f"replaced the rules of security group {name}, {group}")
        if rules:
            ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=rules)
    else:
        about = "SSH from one network, and all traffic among the nodes of a Ray cluster"
        kind = {"ResourceType": "security-group", "Tags": owner.tags}
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


def _rule_set(rules: list[dict[str, Any]]) -> set[tuple[str, ...]]:
    """Return a set of the protocol, ports and source of each rule, to compare rules."""
    return {
        (
            str(rule["IpProtocol"]),
            str(rule.get("FromPort")),
            str(rule.get("ToPort")),
            str(
                source.get("CidrIp") or source.get("CidrIpv6") or source.get("GroupId")
            ),
        )
        for rule in rules
        for key in ("IpRanges", "Ipv6Ranges", "UserIdGroupPairs")
        for source in rule.get(key, [])
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
    owner = Owner(_user_name(cluster), adopt)
    groups = _groups(ec2, cluster.name)
    roles = {name: _role(iam, name) for name in cluster.roles.values()}
    for group in groups:
        owner.check(f"security group {cluster.name}", group)
    for name, description in roles.items():
        if description:
            owner.check(f"role {name}", description)
    for group in groups:
        _delete_group(ec2, group["GroupId"], file)
        say(f"deleted security group {group['GroupId']}")
    for name in roles:
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
        UsageError: Nodes run in the group, or something uses the group for longer than
            `VANISH_SECONDS`.
    """
    filters = [
        {"Name": "instance.group-id", "Values": [group]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "stopped"]},
    ]
    if ec2.describe_instances(Filters=filters)["Reservations"]:
        raise UsageError(
            f"nodes still use the security group {group}; run `ray down {file}` first"
        )

    def is_in_use(error: BaseException) -> bool:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
        return code == "DependencyViolation"

    @tenacity.retry(
        retry=tenacity.retry_if_exception(is_in_use),
        wait=tenacity.wait_fixed(VANISH_INTERVAL),
        stop=tenacity.stop_after_delay(VANISH_SECONDS),
        before_sleep=lambda state: (
            say("Waiting until AWS has ended the nodes.")
            if state.attempt_number == 1
            else None
        ),
        reraise=True,
    )
    def delete() -> None:
        ec2.delete_security_group(GroupId=group)

    try:
        delete()
    except ClientError as error:
        raise UsageError(
            f"cannot delete the security group {group}; run `remove` again later: "
            f"{error}"
        ) from None
