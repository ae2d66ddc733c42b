"""The cluster's file: all that is wrong with it is found at once, and nothing else.

AWS is moto's, real over HTTP; a real cluster on it is in test_cluster_lab.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from study.cluster import aws as cluster_aws
from study.cluster import prepare as cluster_prepare
from study.cluster import rules as cluster_rules
from study.cluster.__main__ import Check, check
from study.cluster.file import TOKEN, read
from study.cluster.outlook import cost, versions
from trainables.usage import UsageError

HERE = Path(__file__).resolve().parents[3]
TEXT = (HERE / "cluster.yaml").read_text()
SET = {
    "s3://<BUCKET>/": "s3://mine/",
    "<CIDR>": "203.0.113.7/32",
    "<IMAGE>": "ami-0123456789abcdef0",
    "<SECURITY-GROUP>": "sg-0123456789abcdef0",
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with a token, in the project's folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(HERE)
    token = Path(TOKEN).expanduser()
    token.parent.mkdir()
    token.write_text("a-token")
    return tmp_path


@pytest.fixture
def made(home):
    """Returns a file with all values set, and then changed by a function."""

    def make(change=lambda config: None, text=None):
        for mark, value in SET.items():
            text = (text or TEXT).replace(mark, value)
        config = copy.deepcopy(yaml.safe_load(text))
        change(config)
        path = home / "cluster.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        for name in ("constraints.txt", "pyproject.toml"):
            (home / name).write_text((HERE / name).read_text())
        return read(str(path))

    return make


def node(config, name="gpu_worker"):
    return config["available_node_types"][name]["node_config"]


def put(*path):
    """Return a change: the last of the path is the value."""

    def change(config):
        *before, key, value = path
        for part in before:
            config = config[part]
        if value is None:
            del config[key]
        else:
            config[key] = value

    return change


TYPES = "available_node_types"
WORKER = (TYPES, "gpu_worker")
NODE = (*WORKER, "node_config")

WRONG = {
    "placeholder": (
        put("metadata", "results", "s3://<BUCKET>/x"),
        "metadata.results: placeholder <BUCKET> is left",
    ),
    "unknown key": (put("max_worker", 3), "max_worker: unknown key: did you mean max"),
    "key of a node type": (
        put(*WORKER, "max_worker", 3),
        "available_node_types.gpu_worker.max_worker: unknown key: did you mean max_wor",
    ),
    "key of the provider": (
        put("provider", "cache_stoped_nodes", False),
        "provider.cache_stoped_nodes: unknown key: did you mean cache_stopped_nodes?",
    ),
    "key of the metadata": (
        put("metadata", "ssh_form", "x"),
        "metadata.ssh_form: unknown key: did you mean ssh_from?",
    ),
    "key that AWS does not know": (
        put(*NODE, "InstanceMarketOption", {}),
        "node_config.InstanceMarketOption: unknown key: did you mean InstanceMarketO",
    ),
    "key that AWS does not know, deep": (
        put(*NODE, "InstanceMarketOptions", "SpotOptions", "MaxPrize", "1"),
        "SpotOptions.MaxPrize: unknown key: did you mean MaxPrice?",
    ),
    "type that AWS does not know": (
        put(*NODE, "InstanceType", "g4dn.xlrge"),
        "InstanceType: AWS knows no g4dn.xlrge: did you mean g4dn.xlarge?",
    ),
    "type of a value": (
        put(*NODE, "InstanceMarketOptions", "SpotOptions", "MaxPrice", 0.5),
        "MaxPrice: is 0.5: AWS wants a string",
    ),
    "list": (put(*NODE, "SecurityGroupIds", "sg-1"), "is 'sg-1': give a list"),
    "type of Ray": (
        put("max_workers", "4"),
        "max_workers: '4' is not of type 'integer'",
    ),
    "maximum": (
        put(*WORKER, "max_workers", 9),
        "gpu_worker.max_workers is 9, over the global max_workers 4",
    ),
    "minimum": (put(*WORKER, "min_workers", 5), "min_workers is 5, over its max_worke"),
    "minima": (put("max_workers", 0), "is 4, over the global max_workers 0"),
    "head": (put("head_node_type", "hed"), "head_node_type is 'hed'"),
    "head with trials": (
        put("head_start_ray_commands", ["RAY_AUTH_MODE=token ray start --head"]),
        "no --num-cpus=0",
    ),
    "token mount": (
        put("file_mounts", TOKEN, None),
        "file_mounts: no ~/.ray/auth_token: workers would never join",
    ),
    "token file": (
        put("file_mounts", TOKEN, "~/none"),
        "file_mounts.~/.ray/auth_token: there is no ~/none here",
    ),
    "token mode": (
        put("worker_start_ray_commands", ["ray start --address=$RAY_HEAD_IP:6379"]),
        "worker_start_ray_commands: no RAY_AUTH_MODE=token",
    ),
    "Ray's own group": (
        put(*NODE, "SecurityGroupIds", None),
        "Ray's own group opens port 22 to the world",
    ),
    "rule for the world": (
        put(
            "provider",
            "security_group",
            {
                "IpPermissions": [
                    {
                        "IpProtocol": "tcp",
                        "FromPort": 20,
                        "ToPort": 30,
                        "Ipv6Ranges": [{"CidrIpv6": "::/0"}],
                    }
                ]
            },
        ),
        "provider.security_group: port 22 is open to the world (::/0)",
    ),
    "login for the world": (
        put("metadata", "ssh_from", "0.0.0.0/0"),
        "metadata.ssh_from is 0.0.0.0/0: port 22 is open to the world",
    ),
    "no network": (put("metadata", "ssh_from", "home"), "ssh_from is no CIDR"),
    "dashboard": (
        put(
            "head_start_ray_commands",
            ["RAY_AUTH_MODE=token ray start --num-cpus=0 --dashboard-host=0.0.0.0"],
        ),
        "the dashboard listens to more than the head",
    ),
    "results in a folder": (
        put("metadata", "results", "~/results"),
        "workers cannot write to a folder of another machine",
    ),
    "results with keys": (
        put("metadata", "results", "s3://key:secret@mine/x"),
        "metadata.results has keys in it",
    ),
    "worker without a role": (
        put(*NODE, "IamInstanceProfile", None),
        "no IamInstanceProfile: such workers cannot write to mine",
    ),
    "stopped disks": (
        put("provider", "cache_stopped_nodes", True),
        "their disks go on costing",
    ),
    "image": (put(*NODE, "ImageId", None), "no ImageId"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_each_thing_that_is_wrong_is_found_and_nothing_else(made, wrong):
    change, said = WRONG[wrong]
    found = cluster_rules.findings(made(change))
    assert any(said in line for line in found), found
    assert len(found) == 1
    assert all("\n" not in line for line in found)


def test_the_file_with_its_values_set_is_right(made):
    file = made()
    assert cluster_rules.findings(file) == []
    assert versions(file)[1] == []
    assert cost(file)[1] == []


def test_the_file_as_it_is_lacks_what_the_user_sets_and_nothing_else(home):
    found = cluster_rules.findings(read(str(HERE / "cluster.yaml")))
    assert [re.findall(r"<[A-Z-]+>", line)[0] for line in found] == [
        mark.removeprefix("s3://").removesuffix("/") for mark in SET
    ]


def test_all_is_found_at_once_and_the_exit_code_says_so(made, capsys):
    def change(config):
        for name in ("placeholder", "maximum", "token mount", "unknown key"):
            WRONG[name][0](config)

    file = made(change)
    assert check(Check(str(file.path))) == 1
    said = capsys.readouterr().out
    for name in ("placeholder", "maximum", "token mount", "unknown key"):
        assert WRONG[name][1] in said
    assert "4 wrong" in said
    assert check(Check(str(made().path))) == 0
    assert "nothing wrong" in capsys.readouterr().out


def test_the_cost_is_that_of_the_head_and_all_workers(made):
    file = made()
    assert cost(file)[0].startswith("costs at most: $2.22 an hour (head 0.10 + 4 x gpu")
    options = (*NODE, "InstanceMarketOptions")
    _, (why,) = cost(made(put(*options, "SpotOptions", None)))
    assert "nothing bounds what spot costs" in why
    on_demand, none = cost(made(put(*options, None)))
    assert "on demand" in on_demand
    assert none == []


def test_versions_are_those_of_the_constraints(made):
    line, _ = versions(made())
    held = (HERE / "constraints.txt").read_text()
    assert re.search(r"ray ([\d.]+)", line)[1] == re.search(r"\nray==(.*)", held)[1]
    assert "Python 3.12" in line

    def old(config):
        config["setup_commands"] = [
            "python3.9 -m venv x; pip install -c constraints.txt"
        ]

    assert versions(made(old))[1] == [
        "setup_commands: the program does not run on Python 3.9"
    ]
    file = made()
    (file.path.parent / "constraints.txt").write_text("ray==2.1.0\n")
    assert "would be 2.1.0 there" in versions(file)[1][0]


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), ("a: [", "is no YAML"), ("- 1", "holds no keys")],
)
def test_what_is_no_cluster_file_is_one_line(tmp_path, content, said):
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_text(content)
    done = subprocess.run(
        [sys.executable, "-m", "study.cluster", "check", str(path)],
        capture_output=True,
        text=True,
        cwd=HERE,
    )
    assert done.returncode == 2
    assert re.fullmatch(rf"error: {path}.*{said}.*\n", done.stderr)


def test_what_is_mounted_is_what_runs_and_it_is_in_git():
    mounts = yaml.safe_load(TEXT)["file_mounts"]
    there = subprocess.run(
        ["git", "ls-files"], capture_output=True, text=True, cwd=HERE
    )
    if there.returncode:
        pytest.skip("no checkout of git's")
    top = {name.split("/")[0] for name in there.stdout.split()}
    local = set(mounts.values()) - {TOKEN, ".git"}
    assert local <= top
    assert {"study", "trainables", "analysis", "pyproject.toml"} <= local


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


@pytest.fixture
def prepared(cloud, home):
    """A file that `prepare` has filled in, but for an image that moto has."""
    image = cloud("ec2").describe_images()["Images"][0]["ImageId"]
    text = TEXT.replace("<BUCKET>", "mine").replace("<CIDR>", "203.0.113.7/32")
    path = home / "cluster.yaml"
    path.write_text(text.replace("<IMAGE>", image))
    cluster_prepare.prepare(read(str(path)), lambda line: None)
    yield path
    cluster_prepare.remove(read(str(path)), lambda line: None)


def test_what_prepare_makes_is_narrow_and_right(prepared, cloud):
    file = read(str(prepared))
    assert cluster_rules.findings(file) == []
    assert cluster_aws.findings(file) == []
    (group,) = cloud("ec2").describe_security_groups(
        GroupIds=[file.settings["security_group"]]
    )["SecurityGroups"]
    ssh, among = sorted(group["IpPermissions"], key=lambda r: r["IpProtocol"])[::-1]
    assert (ssh["FromPort"], ssh["ToPort"]) == (22, 22)
    assert [r["CidrIp"] for r in ssh["IpRanges"]] == ["203.0.113.7/32"]
    assert [g["GroupId"] for g in among["UserIdGroupPairs"]] == [group["GroupId"]]
    assert among["IpRanges"] == []


def test_prepare_again_changes_nothing_and_mends_the_group(prepared, cloud):
    before = prepared.read_text()
    group = read(str(prepared)).settings["security_group"]
    world = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
    cloud("ec2").authorize_security_group_ingress(
        GroupId=group, IpPermissions=[world | {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    )
    (found,) = cluster_aws.findings(read(str(prepared)))
    assert found == f"security group {group}: port 22 is open to the world (0.0.0.0/0)"
    told = []
    cluster_prepare.prepare(read(str(prepared)), told.append)
    assert told == []
    assert prepared.read_text() == before
    assert cluster_aws.findings(read(str(prepared))) == []


def test_workers_whose_role_may_not_write_are_found(prepared, cloud):
    name = "plasticity-study-worker"
    rights = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}],
    }
    cloud("iam").put_role_policy(
        RoleName=name, PolicyName=name, PolicyDocument=json.dumps(rights)
    )
    (found,) = cluster_aws.findings(read(str(prepared)))
    assert "cannot write to mine/plasticity-study" in found
    assert "lacks s3:PutObject, s3:DeleteObject" in found


def test_what_aws_does_not_have_is_found(prepared):
    text = prepared.read_text()
    text = re.sub(r"&image \S+", "&image ami-12345678901234567", text)
    text = re.sub(r"&group \S+", "&group sg-12345678901234567", text)
    text = text.replace("s3://mine/", "s3://yours/").replace("study-head", "study-hed")
    changed = prepared.with_name("changed.yaml")
    changed.write_text(text)
    found = "\n".join(cluster_aws.findings(read(str(changed))))
    assert "there is no ami-12345678901234567 in us-west-2" in found
    assert "there is no security group sg-12345678901234567" in found
    assert "there is no bucket yours" in found
    assert "there is no plasticity-study-hed" in found


def test_an_image_that_has_gone_is_one_line(cloud, home):
    text = TEXT.replace("<BUCKET>", "mine").replace("<CIDR>", "203.0.113.7/32")
    path = home / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match="none of that name"):
        cluster_prepare.prepare(read(str(path)), lambda line: None)
    cluster_prepare.remove(read(str(path)), lambda line: None)


def test_prepare_makes_no_group_for_the_world(made):
    with pytest.raises(UsageError, match="the whole world"):
        cluster_prepare.prepare(
            made(put("metadata", "ssh_from", "::/0")), lambda line: None
        )
