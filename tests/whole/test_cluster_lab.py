"""A study on a cluster of the project's own cluster.yaml: `pytest -m cluster`.

`ray up` over SSH, in namespaces of this machine (tests/cluster_lab), with moto's AWS:
nodes start when trials wait for them, one is taken away and another comes, and the
records in S3 are, to the last bit, those of the same study on one machine.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import chaos

sys.path.insert(0, str(Path(__file__).with_name("cluster_lab")))
import lab as labs

from tests.support.chaos import RUNS, TASKS

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(labs.lacking()), reason=labs.lacking()),
]
RESULTS = f"s3://{labs.BUCKET}/plasticity-study?region=us-west-2"
STUDY = "~/plasticity-study/lab_study.py"
WORDS = "--gpus-per-trial 0 --stack 1 --checkpoint-every 1"
ASK = "RAY_AUTH_MODE=token ray job submit --address http://127.0.0.1:8265 --no-wait"
LOOK = Path(labs.__file__).with_name("look.py")
SHOTS = os.environ.get("LAB_SHOTS")
"""A folder where the pictures of the dashboard stay."""


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The records of the same study on one machine."""
    results = tmp_path_factory.mktemp("one-machine")
    words = ("--stack", 1, "--address", "local")
    with chaos.Sweep(chaos.LONG, results, *words) as sweep:
        assert sweep.end() == 0, sweep.text
    return chaos.read(results)


@pytest.fixture
def lab(tmp_path):
    made = labs.Lab(tmp_path)
    try:
        made.begin()
        yield made
    finally:
        made.close()


def wait(lab, job, pattern, seconds=600):
    """Wait until a job says something; return what it has said."""
    deadline = time.monotonic() + seconds
    while not re.search(pattern, text := lab.log(job)):
        assert time.monotonic() < deadline, f"it never said {pattern}: {text}"
        time.sleep(1)
    return text


def workers(lab):
    return [i for i in lab.instances() if i[2] == "g4dn.xlarge"]


def prepare_and_check(lab):
    """Fill the file in, as its user does."""
    said = lab.laptop("python -m study.cluster check", code=1)
    for mark in ("<BUCKET>", "<CIDR>", "<IMAGE>", "<SECURITY-GROUP>"):
        assert f"replace the placeholder {mark}" in said
    lab.describe()
    lab.laptop("python -m study.cluster prepare")
    said = lab.laptop("python -m study.cluster check --aws")
    assert "at most $1.16 an hour (1 x head 0.10 + 2 x gpu_worker 0.53" in said


def look(lab, folder):
    """Open the dashboard on the laptop, through SSH; return what its pages say."""
    token = lab.folder / "hosts/laptop/home/.ray/auth_token"
    tunnel = lab.command("laptop", "cd ~/checkout; ray dashboard cluster.yaml")
    tunnel["args"][-1] = "; ".join(
        [*(f"export {k}='{v}'" for k, v in labs.USER.items()), tunnel["args"][-1]]
    )
    tunnel["stdout"] = subprocess.DEVNULL
    with subprocess.Popen(**tunnel) as forward:
        try:
            time.sleep(5)
            (worker, *_) = workers(lab)
            pages = (
                "overview=/#/overview=Recent jobs",
                "jobs=/#/jobs=plasticity study survivor",
                f"cluster=/#/cluster={worker[1]}",
                "actors=/#/actors=trials of the study",
            )
            quoted = " ".join(f"'{page}'" for page in pages)
            return lab.laptop(
                f"python {LOOK} http://127.0.0.1:8265 $(cat {token}) {folder} {quoted}"
            )
        finally:
            forward.terminate()


def prometheus(lab):
    """Start Debian's Prometheus on the head, with the file that Ray wrote."""
    config = "/tmp/ray/session_latest/metrics/prometheus/prometheus.yml"
    command = f"prometheus --config.file={config} --storage.tsdb.path=prometheus"
    ssh(lab, "n4", f"nohup {command} > prometheus.log 2>&1 < /dev/null &")


def ask_prometheus(lab, query):
    """Return what Prometheus says of the whole study, as {tags: largest value}."""
    done = subprocess.run(
        **lab.command(
            "n4",
            "curl -sG http://127.0.0.1:9090/api/v1/query --data-urlencode "
            f"'query={query}'",
        )
    )
    answer = json.loads(done.stdout)["data"]["result"]
    return [float(each["value"][1]) for each in answer]


def test_a_study_on_a_cluster(lab, expected, tmp_path, capsys):
    prepare_and_check(lab)
    lab.laptop("ray up -y cluster.yaml --no-config-cache")
    lab.laptop(
        f"ray rsync-up cluster.yaml tests/whole/studies/survivor_long.py '{STUDY}'"
    )
    sweep = "cd ~/plasticity-study && RAY_AUTH_MODE=token python -m study.sweep"
    refused = lab.head(f"{sweep} lab_study.py --results ~/here", code=None)
    assert "may start nodes that do not have this folder" in refused
    prometheus(lab)
    command = f'{sweep} lab_study.py --results "{RESULTS}" {WORDS}'
    named = "--metadata-json " + shlex.quote(
        '{"job_name": "plasticity study survivor"}'
    )
    lab.head(f"{ASK} {named} --submission-id lab -- bash -c '{command}'")
    said = wait(
        lab, "lab", "Waiting for nodes: 0 of 8 concurrent trials .* up to 8 CPU, 2 GPU"
    )
    wait(lab, "lab", r"Ray now has 8 CPU, 2 GPU|no longer wait for nodes")
    wait(lab, "lab", r"tasks [1-9]\d*/72")
    pages = look(lab, SHOTS or tmp_path / "shots")
    for word in ("plasticity study survivor", "trials of the study", "172.31.0.4"):
        assert word in pages
    (victim, *_) = workers(lab)
    lab.take_away(*victim[:2])
    wait(lab, "lab", f"Node {victim[1]} has left")
    wait(lab, "lab", r"has left[^\0]*has joined")
    said = wait(lab, "lab", "Records: ", 1200)
    assert "runs 12/12, tasks 72/72" in said
    assert victim[0] not in [i[0] for i in workers(lab)]
    check_records(lab, expected, tmp_path, capsys)
    check_metrics(lab)
    lab.laptop("ray down -y cluster.yaml")
    assert lab.instances() == []
    for _, address, _ in lab.instances("terminated"):
        lab.script("kill", lab.host(address or "172.31.0.4"))
    lab.laptop("python -m study.cluster remove")
    assert lab.processes() == []


def check_records(lab, expected, tmp_path, capsys):
    """The records in S3 are those of one machine."""
    there = tmp_path / "records"
    (there / "survivor" / "records").mkdir(parents=True)
    lab.laptop(
        'python -c "import pyarrow.fs; pyarrow.fs.copy_files('
        f"'{RESULTS.replace('?', '/survivor/records?')}', "
        f"'{there}/survivor/records')\""
    )
    rows = chaos.read(there)
    differences = chaos.compare(expected, rows)
    with capsys.disabled():
        print(f"\ncluster: {len(rows)} records, {differences} differences")
    assert differences == 0


def check_metrics(lab):
    """Prometheus has the sums of the records, as the study's end left them."""
    tasks = "sum(last_over_time(ray_plasticity_tasks[30m]))"
    deadline = time.monotonic() + 90  # it asks every ten seconds, and is made to wait
    while (rows := ask_prometheus(lab, tasks)) != [RUNS * TASKS]:
        assert time.monotonic() < deadline, f"{rows}, not {RUNS * TASKS}"
        time.sleep(1)
    done = 'last_over_time(ray_plasticity_runs{state="done"}[30m])'
    assert ask_prometheus(lab, done) == [RUNS]
    speed = "max_over_time(ray_plasticity_examples_per_second[30m]) > 0"
    assert len(ask_prometheus(lab, speed)) >= 2
    ssh(lab, "n4", "pkill -x prometheus")


def ssh(lab, host, command, **more):
    """Run a command on a host of one's own, over SSH."""
    address = f"172.31.0.{host.removeprefix('n')}"
    options = f"-q -o StrictHostKeyChecking=no -i {lab.folder}/keys/id"
    remote = shlex.quote(f"bash --login -c {shlex.quote(command)}")
    return lab.laptop(f"ssh {options} root@{address} {remote}", **more)


def own_cluster(lab):
    """Start Ray on three machines by hand, as README says."""
    for host in ("n4", "n5", "n6"):
        tree = lab.folder / "hosts" / "laptop" / "home" / "checkout"
        home = lab.folder / "hosts" / host / "home"
        shutil.copytree(tree, home / "plasticity-study", symlinks=True)
        if host != "n4":
            token = lab.folder / "hosts/n4/home/.ray/auth_token"
            (home / ".ray").mkdir()
            shutil.copy(token, home / ".ray")
            start = "ray start --address=172.31.0.4:6379 --num-cpus=1"
        else:
            ssh(lab, host, "ray get-auth-token --generate")
            start = "ray start --head --port=6379 --num-cpus=0"
        ssh(lab, host, f"RAY_AUTH_MODE=token {start}")


def test_machines_of_ones_own(lab, expected, tmp_path):
    own_cluster(lab)
    sweep = "cd ~/plasticity-study && RAY_AUTH_MODE=token python -m study.sweep"
    sweep += f" tests/whole/studies/survivor_long.py {WORDS}"
    said = ssh(lab, "n4", f"{sweep} --results ~/results", code=2)
    assert "some nodes cannot use --results " in said
    for address in ("172.31.0.5", "172.31.0.6"):
        assert f"{address}: FileNotFoundError" in said
    assert "172.31.0.4:" not in said
    shared = tmp_path / "shared"  # of the hosts' folders only their homes are their own
    said = ssh(lab, "n4", f"{sweep} --results {shared}")
    assert "12 runs in 12 trials, 2 trials at once" in said
    assert chaos.compare(expected, chaos.read(shared)) == 0
    assert not (shared / "survivor" / "reach").exists()
