"""Each mistake in a cluster file gives one line, and a correct file gives no line.

AWS is moto, over HTTP; a real cluster on it is in tests/whole/test_cluster_lab.py.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from botocore.exceptions import ClientError

from study.cluster.check import aws_problems, check, cost, file_problems
from study.cluster.cluster_file import TOKEN_FILE, ClusterFile
from study.cluster.prepare import (
    _create_spot_role,
    _delete_group,
    _make_token,
    prepare,
    remove,
)
from trainables.usage import UsageError

HERE = Path(__file__).resolve().parents[3]
TEXT = (HERE / "cluster.yaml").read_text()
SET = {
    "<USER>": "moto",
    "s3://<BUCKET>/": "s3://mine/",
    "<CIDR>": "203.0.113.7/32",
    "<IMAGE>": "ami-0123456789abcdef0",
    "<HEAD-ROLE>": "plasticity-study-moto-head",
    "<WORKER-ROLE>": "plasticity-study-moto-worker",
    "<SECURITY-GROUP>": "sg-0123456789abcdef0",
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder with a token; the working folder is that of the project."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(HERE)
    token = Path(TOKEN_FILE).expanduser()
    token.parent.mkdir()
    token.write_text("a-token")
    token.chmod(0o600)
    return tmp_path


@pytest.fixture
def make_file(home):
    """Make a file with all values set, changed by a function; return its path."""

    def make(change=lambda config: None):
        text = TEXT
        for mark, value in SET.items():
            text = text.replace(mark, value)
        config = yaml.safe_load(text)
        change(config)
        path = home / "cluster.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return str(path)

    return make


def put(*path):
    """Return a function that sets the key at a path; the last word is the value."""

    def change(config):
        *before, key, value = path
        for part in before:
            config = config[part]
        if value is None:
            del config[key]
        else:
            config[key] = value

    return change


WORKER = ("available_node_types", "gpu_worker")
NODE = (*WORKER, "node_config")

MISTAKES = {
    "placeholder": (
        put("metadata", "results", "s3://<BUCKET>/x"),
        "replace the placeholder <BUCKET>",
    ),
    "key that AWS does not know": (
        put(*NODE, "InstanceMarketOptions", "SpotOptions", "MaxPrize", "1"),
        'Unknown parameter in InstanceMarketOptions.SpotOptions: "MaxPrize"',
    ),
    "type of a value": (
        put(*NODE, "InstanceMarketOptions", "SpotOptions", "MaxPrice", 0.5),
        "SpotOptions.MaxPrice, value: 0.5, type: <class 'float'>, valid types",
    ),
    "token mount": (
        put("file_mounts", TOKEN_FILE, None),
        "file_mounts: no ~/.ray/auth_token; add it, or workers cannot join",
    ),
    "token file": (
        put("file_mounts", TOKEN_FILE, "~/none"),
        "file_mounts.~/.ray/auth_token: ~/none does not exist",
    ),
    "token mode": (
        put(
            "worker_start_ray_commands",
            [
                "python3 study/cluster/watchdog.py worker $RAY_HEAD_IP &",
                "ray start --address=$RAY_HEAD_IP:6379",
            ],
        ),
        "worker_start_ray_commands: no RAY_AUTH_MODE=token",
    ),
    "Ray's own group": (
        put(*NODE, "SecurityGroupIds", None),
        "Ray's own group opens port 22 to the world",
    ),
    "worker without a role": (
        put(*NODE, "IamInstanceProfile", None),
        "no IamInstanceProfile; the node cannot write the results",
    ),
    "stopped disks": (
        put("provider", "cache_stopped_nodes", True),
        "the disks of stopped nodes still cost money",
    ),
    "image": (put(*NODE, "ImageId", None), "no ImageId"),
    "watchdog": (
        put("worker_start_ray_commands", ["RAY_AUTH_MODE=token ray start"]),
        "worker_start_ray_commands: no study/cluster/watchdog.py",
    ),
    "shutdown": (
        put(*NODE, "InstanceInitiatedShutdownBehavior", "stop"),
        "a node that shuts itself down would still cost money",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_one_line_and_nothing_else_is_reported(make_file, mistake):
    change, message = MISTAKES[mistake]
    (problem,) = file_problems(ClusterFile.read(make_file(change)))
    assert message in problem
    assert "\n" not in problem


REFUSALS = {
    "'max_worker' was unexpected": put("max_worker", 3),
    "available_node_types.gpu_worker: .*'max_worker' was": put(
        *WORKER, "max_worker", 3
    ),
    "max_workers: '4' is not of type 'integer'": put("max_workers", "4"),
    "`max_workers` is smaller than the sum": put(*WORKER, "min_workers", 5),
    "`head_node_type` must be one of": put("head_node_type", "hed"),
}


@pytest.mark.parametrize("message", REFUSALS)
def test_what_ray_refuses_is_an_error_in_its_words(make_file, message):
    with pytest.raises(UsageError, match=f"Ray refuses .*{message}"):
        ClusterFile.read(make_file(REFUSALS[message]))


def test_the_shipped_file_lacks_only_what_the_user_sets(home):
    problems = file_problems(ClusterFile.read(str(HERE / "cluster.yaml")))
    assert [re.findall(r"<[A-Z-]+>", line)[0] for line in problems] == [
        mark.removeprefix("s3://").removesuffix("/") for mark in SET
    ]


def test_check_shows_every_problem_at_once_and_exits_with_1(make_file, capsys):
    names = ("placeholder", "token mount", "image")

    def change(config):
        for name in names:
            MISTAKES[name][0](config)

    assert check(make_file(change), aws=True) == 1
    output = capsys.readouterr().out
    for name in names:
        assert MISTAKES[name][1] in output
    assert "3 problems (AWS was not asked; solve these problems first)" in output
    assert check(make_file()) == 0
    hint = "no problems found (AWS was not asked; to ask AWS, use --aws)"
    assert hint in capsys.readouterr().out


def test_the_cost_is_that_of_the_head_and_all_workers(make_file):
    def line(*change):
        return cost(ClusterFile.read(make_file(put(*change))))

    start = "cost: at most $2.22 an hour (1 x head 0.10 + 4 x gpu_worker 0.53"
    assert line("max_workers", 4).startswith(start)
    options = (*NODE, "InstanceMarketOptions")
    assert line(*options, None).startswith(start)  # on demand
    unknown = "cost: unknown; set gpu_worker: SpotOptions.MaxPrice to the price"
    assert line(*options, "SpotOptions", None).startswith(unknown)


def test_another_ray_here_than_on_the_cluster_is_a_problem(make_file, home):
    (home / "constraints.txt").write_text("ray==2.1.0\n")
    change = put("file_mounts", "~/constraints.txt", "~/constraints.txt")
    (problem,) = file_problems(ClusterFile.read(make_file(change)))
    assert "installs 2.1.0 on the cluster" in problem


def test_a_token_that_others_can_read_is_mended(make_file, home, capsys):
    path = make_file()
    token = Path(TOKEN_FILE).expanduser()
    token.chmod(0o644)  # as Ray writes it
    (problem,) = file_problems(ClusterFile.read(path))
    assert "other users can read ~/.ray/auth_token" in problem
    _make_token(token)
    assert "changed its mode to 600" in capsys.readouterr().out
    assert token.stat().st_mode & 0o777 == 0o600
    assert token.read_text() == "a-token"
    assert list(file_problems(ClusterFile.read(path))) == []
    token.unlink()
    _make_token(token)
    assert token.stat().st_mode & 0o777 == 0o600
    assert len(token.read_text()) == 64


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("a: [", "not valid YAML"), ("- 1", "has no keys")],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, content, message):
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=rf"^{path}.*{message}[^\n]*$"):
        ClusterFile.read(str(path))


def test_the_program_is_mounted_and_every_mount_is_in_git():
    mounts = yaml.safe_load(TEXT)["file_mounts"]
    tree = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=HERE)
    if tree.returncode:
        pytest.skip("not a git checkout")
    names = set(tree.stdout.split())
    local = set(mounts.values()) - {TOKEN_FILE, ".git"}
    assert local <= names | {name.split("/")[0] for name in names}
    assert {"study", "trainables", "analysis", "pyproject.toml"} <= local


def documented_commands():
    """Return each `ray ...` command of the docs, as a list of words."""
    pages = [HERE / "README.md", HERE / "docs" / "cluster.md"]
    text = "\n".join(page.read_text() for page in pages).replace("\\\n", " ")
    lines = re.findall(r"(?m)^(?:[A-Z_]+=\S+ )*ray (.*?)(?:  +#.*| && .*)?$", text)
    return [shlex.split(line) for line in lines]


def test_ray_knows_each_documented_command_and_its_options():
    from ray.scripts.scripts import cli

    names = set()
    for words in documented_commands():
        command, depth = cli, 0
        while hasattr(command, "commands"):
            command, depth = command.commands[words[depth]], depth + 1
        own = words[: words.index("--")] if "--" in words else words
        known = {option for p in command.params for option in p.opts}
        used = {word.split("=")[0] for word in own[depth:] if word.startswith("-")}
        assert used <= known, words
        names.add(" ".join(words[:depth]))
        # `ray exec` would end the study with the laptop's connection
        assert words[0] != "exec" or "study.sweep" not in " ".join(words)
    assert {"up", "down", "job submit", "job logs", "job list", "job stop"} <= names


@pytest.fixture(scope="module")
def cloud():
    """moto's AWS, on loopback."""
    from moto.server import ThreadedMotoServer

    patch = pytest.MonkeyPatch()
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "one",
        "AWS_SECRET_ACCESS_KEY": "two",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        patch.setenv(name, value)
    import boto3

    boto3.client("s3", region_name="us-west-2").create_bucket(
        Bucket="mine",
        CreateBucketConfiguration={"LocationConstraint": "us-west-2"},
    )
    yield lambda service: boto3.client(service, region_name="us-west-2")
    server.stop()
    patch.undo()


@pytest.fixture(scope="module")
def image(cloud):
    """The id of an image of moto, which lists its hundreds of images slowly."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.ec2.models import ec2_backends

    return next(iter(ec2_backends[DEFAULT_ACCOUNT_ID]["us-west-2"].amis))


@pytest.fixture
def prepared(image, home):
    """The path of a file after `prepare`."""
    text = TEXT.replace("<BUCKET>", "mine").replace("<CIDR>", "203.0.113.7/32")
    path = home / "cluster.yaml"
    path.write_text(text.replace("<IMAGE>", image))
    prepare(str(path))
    yield str(path)
    remove(str(path))


def group_id(path):
    return yaml.safe_load(Path(path).read_text())["metadata"]["security_group"]


def test_prepare_allows_ssh_from_one_network_and_traffic_among_nodes(prepared, cloud):
    file = ClusterFile.read(prepared)
    assert list(file_problems(file)) == []
    assert aws_problems(file) == []
    (group,) = cloud("ec2").describe_security_groups(GroupIds=[group_id(prepared)])[
        "SecurityGroups"
    ]
    ssh, nodes = sorted(group["IpPermissions"], key=lambda r: r["IpProtocol"])[::-1]
    assert (ssh["FromPort"], ssh["ToPort"]) == (22, 22)
    assert [r["CidrIp"] for r in ssh["IpRanges"]] == ["203.0.113.7/32"]
    assert [g["GroupId"] for g in nodes["UserIdGroupPairs"]] == [group["GroupId"]]
    assert nodes["IpRanges"] == []


def test_the_workers_may_write_the_results_and_nothing_else(prepared, cloud):
    name = "plasticity-study-moto-worker"  # moto is the name of every user of moto
    policy = cloud("iam").get_role_policy(RoleName=name, PolicyName=name)
    rights = {
        action: statement["Resource"]
        for statement in policy["PolicyDocument"]["Statement"]
        for action in statement["Action"]
    }
    objects, bucket = "arn:aws:s3:::mine/plasticity-study/*", "arn:aws:s3:::mine"
    assert rights == {
        "s3:GetObject": objects,
        "s3:PutObject": objects,
        "s3:DeleteObject": objects,
        "s3:ListBucket": bucket,
        "s3:GetBucketLocation": bucket,
    }


def test_prepare_again_changes_no_file_and_closes_an_open_port(prepared, cloud, capsys):
    before, group = Path(prepared).read_text(), group_id(prepared)
    world = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
    cloud("ec2").authorize_security_group_ingress(
        GroupId=group, IpPermissions=[world | {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    )
    problems = aws_problems(ClusterFile.read(prepared))
    assert problems == [
        f"{group}: ports 22-22 are open to the world, 0.0.0.0/0; "
        "allow only your own network"
    ]
    capsys.readouterr()
    prepare(prepared)
    said = capsys.readouterr().out
    assert said == (
        f"replaced the rules of security group plasticity-study-moto, {group}\n"
    )
    prepare(prepared)
    assert capsys.readouterr().out == ""
    assert Path(prepared).read_text() == before
    assert aws_problems(ClusterFile.read(prepared)) == []


def test_a_renamed_cluster_checks_clean_after_prepare(prepared, cloud, capsys):
    path, old = Path(prepared), group_id(prepared)
    before = path.read_text()
    path.write_text(
        before.replace("cluster_name: plasticity-study-", "cluster_name: x")
    )
    problems = aws_problems(ClusterFile.read(prepared))
    assert [p.split(":")[0] for p in problems] == [
        "metadata.head_role",
        "metadata.worker_role",
        "metadata.security_group",
    ]
    capsys.readouterr()
    prepare(prepared)
    assert "-moto-head with xmoto-head" in capsys.readouterr().out
    assert aws_problems(ClusterFile.read(prepared)) == []
    assert group_id(prepared) != old
    remove(prepared)
    path.write_text(before)  # the first cluster has lost nothing
    assert aws_problems(ClusterFile.read(prepared)) == []


def test_what_another_user_has_prepared_is_neither_replaced_nor_deleted(
    prepared, cloud, capsys, monkeypatch
):
    iam, name = cloud("iam"), "plasticity-study-moto-worker"
    policy = iam.get_role_policy(RoleName=name, PolicyName=name)["PolicyDocument"]
    text = Path(prepared).read_text()
    with monkeypatch.context() as other:
        other.setattr("study.cluster.prepare._user_name", lambda file: "eve")
        other_file = Path(prepared).with_name("other.yaml")
        other_file.write_text(text.replace("s3://mine/", "s3://eves/"))
        for command in (prepare, remove):
            with pytest.raises(
                UsageError, match="was created by moto, and you are eve"
            ):
                command(str(other_file))
        assert iam.get_role_policy(RoleName=name, PolicyName=name)[
            "PolicyDocument"
        ] == (policy)
        capsys.readouterr()
        prepare(str(other_file), adopt=True)
        assert f"replaced the rights of role {name}" in capsys.readouterr().out
    with pytest.raises(UsageError, match="was created by eve, and you are moto"):
        prepare(prepared)
    prepare(prepared, adopt=True)
    iam.untag_role(RoleName=name, TagKeys=["plasticity-study-user"])
    with pytest.raises(UsageError, match="by another program than `prepare`"):
        prepare(prepared)
    prepare(prepared, adopt=True)


def test_what_does_not_exist_on_aws_is_reported(prepared):
    text = Path(prepared).read_text()
    text = re.sub(r"&image \S+", "&image ami-12345678901234567", text)
    text = re.sub(r"&group \S+", "&group sg-12345678901234567", text)
    text = text.replace("s3://mine/", "s3://yours/").replace("moto-head", "moto-hed")
    changed = Path(prepared).with_name("changed.yaml")
    changed.write_text(text)
    problems = "\n".join(aws_problems(ClusterFile.read(str(changed))))
    assert "ImageId: ami-12345678901234567 does not exist in us-west-2" in problems
    assert "SecurityGroupIds: sg-12345678901234567 does not exist" in problems
    assert "bucket yours does not exist" in problems
    assert "role plasticity-study-moto-hed does not exist" in problems


def test_remove_waits_for_nodes_that_vanish_slowly(monkeypatch, cloud, capsys):
    """EC2 at first refuses to delete the group, as after `ray down`."""
    monkeypatch.setattr("study.cluster.prepare.VANISH_INTERVAL", 0.01)
    ec2 = cloud("ec2")
    group = ec2.create_security_group(GroupName="g", Description="g")["GroupId"]
    refusals = [
        ClientError({"Error": {"Code": code, "Message": "in use"}}, "Delete")
        for code in ("UnauthorizedOperation", "DependencyViolation")
    ]
    answers = [refusals[1]] * 3
    delete = ec2.delete_security_group

    def slow(**arguments):
        if answers:
            raise answers.pop()
        return delete(**arguments)

    monkeypatch.setattr(ec2, "delete_security_group", slow)
    _delete_group(ec2, group, "c.yaml")
    assert capsys.readouterr().out == "Waiting until AWS has ended the nodes.\n"
    with pytest.raises(ClientError, match=r"InvalidGroup\.NotFound"):
        ec2.describe_security_groups(GroupIds=[group])
    for error, tries in zip(refusals, (1, 5), strict=True):
        answers += [
            error
        ] * 100  # one that waiting cannot mend, one that lasts too long
        monkeypatch.setattr("study.cluster.prepare.VANISH_SECONDS", 0.05)
        with pytest.raises(UsageError, match="cannot delete the security group"):
            _delete_group(ec2, group, "c.yaml")
        assert 1 <= 100 - len(answers) <= tries + 1
        answers.clear()


def test_the_first_spot_node_of_an_account_has_its_role(cloud, capsys):
    iam = cloud("iam")
    path = "/aws-service-role/spot.amazonaws.com/"
    for role in iam.list_roles(PathPrefix=path)["Roles"]:
        iam.delete_role(RoleName=role["RoleName"])
    _create_spot_role(iam)
    (role,) = iam.list_roles(PathPrefix=path)["Roles"]  # moto has its own names
    assert capsys.readouterr().out == f"created role {role['RoleName']}\n"
    _create_spot_role(iam)
    assert capsys.readouterr().out == ""


def test_an_image_that_does_not_exist_is_one_line(cloud, home):
    text = TEXT.replace("<BUCKET>", "mine").replace("<CIDR>", "203.0.113.7/32")
    path = home / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match="the region has no image"):
        prepare(str(path))
    remove(str(path))


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("ssh_from", "::/0", "port 22 would be open to the world; give your network"),
        ("ssh_from", "home", "give your network"),
        ("ssh_from", None, "metadata.ssh_from has no value yet"),
        ("results", "~/results", "is not s3://bucket/prefix"),
        ("results", "s3://key:secret@mine/x", "without access keys"),
    ],
)
def test_prepare_refuses_wrong_settings(make_file, setting, value, message):
    with pytest.raises(UsageError, match=message):
        prepare(make_file(put("metadata", setting, value)))
