"""A study on a cluster of the project's own cluster.yaml: `pytest -m cluster`.

`ray up` over SSH, in namespaces of this machine (cluster_lab), with moto's AWS: nodes
start when trials wait for them, one is taken away and another comes, and the records in
S3 are, to the last bit, those of the same study on one machine. Nodes that nobody needs
end by themselves. With LAB_KEEP=FOLDER, the folder gets a transcript and pictures.
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
from tests.support.gate import VARIABLE, Gate

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(labs.lacking()), reason=labs.lacking()),
]
RESULTS = f"s3://{labs.BUCKET}/plasticity-study?region=us-west-2"
WORDS = "--gpus-per-trial 0 --stack 1 --checkpoint-every 1"
SWEEP = f"python -m study.sweep my_study.py --results '{RESULTS}' {WORDS}"
GATED = SWEEP.replace("-m study.sweep", "gate.py")
"""The same sweep, whose trials wait at a gate: a copy of tests/support/gate.py."""

SUBMIT = "ray job submit --submission-id paper --working-dir my-study"
KEEP = os.environ.get("LAB_KEEP")
"""A folder where the transcript and the pictures of the dashboard stay."""

QUICK_WORKERS = {
    "watchdog.py worker $RAY_HEAD_IP": (
        "watchdog.py worker $RAY_HEAD_IP --minutes 0.3 --interval 2"
    )
}
"""A change of cluster.yaml: a worker may do without its head for 18 seconds only."""

ONE_WORKER = {
    "min_workers: 0\n    max_workers: *most": "min_workers: 1\n    max_workers: *most"
}
"""A change of cluster.yaml: a worker runs before there are trials."""


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


def wait(lab, pattern, seconds=600):
    """Wait until the study says something; return what it has said."""
    deadline = time.monotonic() + seconds
    while not re.search(pattern, text := lab.log("paper")):
        assert time.monotonic() < deadline, f"it never said {pattern}: {text}"
        time.sleep(1)
    return text


def workers(lab):
    return [i for i in lab.instances() if i[2] == "g4dn.xlarge"]


def show(lab, command, shown=""):
    """Run a command that comes into the transcript."""
    return lab.laptop(command, show=shown or command)


def up(lab, changes=(), study="survivor_long"):
    """Fill the file in, as its user does, and start the cluster."""
    said = lab.laptop("python -m study.cluster check", code=1)
    for mark in ("<BUCKET>", "<CIDR>", "<IMAGE>", "<SECURITY-GROUP>", "<USER>"):
        assert f"replace the placeholder {mark}" in said
    lab.describe(changes)
    show(lab, "python -m study.cluster prepare")
    said = show(lab, "python -m study.cluster check --aws")
    assert "at most $1.16 an hour (1 x head 0.10 + 2 x gpu_worker 0.53" in said
    lab.laptop(
        f"mkdir my-study; cp tests/whole/studies/{study}.py my-study/my_study.py"
    )
    show(lab, "ray up -y --no-config-cache cluster.yaml", "ray up cluster.yaml")


def down(lab):
    """End the cluster, as its user does; nothing is left."""
    show(lab, "ray down -y cluster.yaml", "ray down cluster.yaml")
    assert lab.instances() == []
    for host in ("n4", "n5", "n6", "n7"):
        lab.script("kill", host)
    show(lab, "python -m study.cluster remove")


def all_has_ended(lab, seconds=600):
    """Wait until there is no instance and no process."""
    deadline = time.monotonic() + seconds
    while found := lab.instances() or lab.processes():
        assert time.monotonic() < deadline, found
        time.sleep(2)


def look(lab, folder):
    """Open the dashboard on the laptop, through SSH; return what its pages say."""
    token = lab.folder / "hosts/laptop/home/.ray/auth_token"
    (worker, *_) = workers(lab)
    pages = (
        "overview=#/overview=Recent jobs",
        "jobs=#/jobs=my_study.py",
        f"processes=#/cluster={worker[1]}",
        "actors=#/actors=trials of the study",
    )
    quoted = " ".join(f"'{page}'" for page in pages)
    return lab.laptop(
        f"python -m tests.whole.cluster_lab.look {labs.DASHBOARD} $(cat {token}) "
        f"{folder} {quoted}"
    )


def prometheus(lab):
    """Start Debian's Prometheus on the head, with the script of the examples."""
    script = "plasticity-study/examples/cluster/metrics.sh"
    ssh(lab, "n4", f"nohup {script} > metrics.log 2>&1 < /dev/null &")


def ask_prometheus(lab, query):
    """Return the values that Prometheus answers."""
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
    up(lab)
    lab.laptop("ray rsync-up cluster.yaml my-study/my_study.py '~/my_study.py'")
    sweep = "RAY_AUTH_MODE=token python -m study.sweep my_study.py --results ~/here"
    refused = lab.head(sweep, code=None)
    assert "can start nodes that possibly do not have this folder" in refused
    prometheus(lab)
    lab.laptop("cp tests/support/gate.py my-study")
    gate = Gate(lab.folder / "gate")  # all hosts see it
    gate.close(tasks=3)
    named = f"env {VARIABLE}={gate.file}"
    with lab.dashboard():
        command = f"{SUBMIT} --no-wait --"
        show(lab, f"{command} {named} {GATED}", f"{command} {SWEEP}")
        wait(lab, "Waiting for nodes: 0 of 2 concurrent trials .* up to 2 CPU, 2 GPU")
        wait(lab, r"Ray now has 2 CPU, 2 GPU|no longer wait for nodes")
        wait(lab, r"tasks [1-9]\d*/72")
        pages = look(lab, KEEP or tmp_path / "pages")
        for word in ("study.sweep my_study.py", "trials of the study", ": task "):
            assert word in pages
        check_panels(lab)
        (victim, *_) = workers(lab)
        lab.take_away(*victim[:2])
        wait(lab, f"Node {victim[1]} has left")
        wait(lab, r"has left[^\0]*ha(s|ve) joined")
        gate.open()
        said = wait(lab, "Records: ", 1200)
        assert "runs 12/12, tasks 72/72" in said
        show(lab, "ray job logs paper")
        assert "Job 'paper' succeeded" in show(lab, "ray job status paper")
    assert victim[0] not in [i[0] for i in workers(lab)]
    check_records(lab, expected, tmp_path, capsys)
    check_metrics(lab)
    show(lab, f"python -m analysis report '{RESULTS}' -o report.html")
    down(lab)
    if KEEP:
        (Path(KEEP) / "transcript.txt").write_text(lab.transcript)


def test_workers_end_without_their_head(lab):
    up(lab, QUICK_WORKERS | ONE_WORKER)
    deadline = time.monotonic() + 300
    while not any(
        words.startswith("python3") and "watchdog.py worker" in words
        for words in lab.processes()
    ):
        assert time.monotonic() < deadline, "no worker"
        time.sleep(1)
    (head,) = [i for i in lab.instances() if i[2] == "m5.large"]
    lab.take_away(*head[:2])
    all_has_ended(lab)


def test_a_spot_node_that_is_refused(lab):
    lab.no_spot.touch()
    up(lab)
    with lab.dashboard():
        lab.laptop(f"{SUBMIT} --no-wait -- {SWEEP}")
        wait(
            lab,
            "Waiting for nodes: 0 of 2 concurrent trials run.* gpu_worker "
            r"\(g4dn.xlarge\) cannot start: .*There is no Spot capacity available",
        )
        lab.laptop("ray job stop paper")
    down(lab)


def test_a_laptop_that_goes_away(lab):
    changes = QUICK_WORKERS | {"head_idle_minutes: 60": "head_idle_minutes: 2"}
    up(lab, changes, study="survivor")
    with lab.dashboard():
        command = f"cd ~/checkout; exec {SUBMIT} -- {SWEEP}"
        told = lab.command("laptop", command, **labs.USER)
        told["stdout"] = subprocess.DEVNULL
        with subprocess.Popen(**told) as follower:
            wait(lab, " ha(s|ve) joined the cluster")
            follower.kill()
    assert len(lab.instances()) > 1
    assert "runs 12/12, tasks 72/72" in wait(lab, "Records: ", 1200)
    all_has_ended(lab)


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


def check_panels(lab):
    """Each panel of docs/grafana.json has values, but not that of GPUs or control."""
    file = Path(__file__).parents[2] / "docs" / "grafana.json"
    for panel in json.loads(file.read_text())["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$study", "survivor")
            deadline = time.monotonic() + 90  # Prometheus asks every ten seconds
            if panel["title"].startswith(("GPU", "Control")):
                continue
            while not ask_prometheus(lab, query):
                assert time.monotonic() < deadline, query
                time.sleep(1)


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
        shutil.copytree(
            tree, home / "plasticity-study", symlinks=True, dirs_exist_ok=True
        )
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
