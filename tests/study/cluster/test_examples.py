"""The files of examples/cluster, as far as a test without their clusters can go."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from study.running.shares import max_of_workers

HERE = Path(__file__).resolve().parents[3]
EXAMPLES = HERE / "examples" / "cluster"


def ray_version():
    return re.findall(r"(?m)^ray==(\S+)", (HERE / "constraints.txt").read_text())[0]


@pytest.mark.parametrize("name", ["kuberay-cluster.yaml", "kuberay-job.yaml"])
def test_the_sweep_reads_how_many_workers_kubernetes_may_start(name):
    cluster, numbers = yaml.safe_load_all((EXAMPLES / name).read_text())
    spec = cluster["spec"].get("rayClusterSpec", cluster["spec"])
    assert spec["rayVersion"] == ray_version()
    (volume,) = spec["headGroupSpec"]["template"]["spec"]["volumes"]
    assert volume["configMap"]["name"] == numbers["metadata"]["name"]
    config = yaml.safe_load(numbers["data"]["ray_bootstrap_config.yaml"])
    (group,) = spec["workerGroupSpecs"]
    (worker,) = group["template"]["spec"]["containers"]
    limits = worker["resources"]["limits"]
    assert config["head_node_type"] == "headgroup"
    assert config["available_node_types"].keys() == {group["groupName"]}
    for resource, key in (("CPU", "cpu"), ("GPU", "nvidia.com/gpu")):
        most = group["maxReplicas"] * int(limits[key])
        assert max_of_workers(config, resource) == most


def test_the_image_has_the_ray_of_the_constraints():
    image = re.findall(r"(?m)^FROM (\S+)", (EXAMPLES / "Dockerfile").read_text())[0]
    assert image == f"rayproject/ray:{ray_version()}-py312-gpu"


@pytest.fixture
def run(tmp_path):
    """Run a script with programs that only save their arguments; return them."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "activate").touch()
    answers = {
        "ray": 'echo "ray $*" >> $LOG',
        "ssh": 'echo "ssh $*" >> $LOG; case $* in *"cat > "*) cat >> $LOG;; '
        '*"cat ~"*) echo a-token;; esac',
        "prometheus": 'echo "prometheus $*" >> $LOG',
        "scontrol": 'printf "n1\\nn2\\n"',
        "srun": 'case $* in *hostname*) echo "10.0.0.1 fd00::1";; '
        '*) echo "srun $*" >> $LOG;; esac',
    }
    for name, text in answers.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)

    def run(script, *arguments, **variables):
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "LOG": str(tmp_path / "log"),
            "VENV": str(tmp_path / "venv"),
        }
        done = subprocess.run(
            ["bash", str(EXAMPLES / script), *arguments],
            env=environment | variables,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return (tmp_path / "log").read_text().splitlines()

    return run


def test_slurm_starts_ray_on_all_nodes_and_the_study_on_the_first(run):
    lines = run(
        "slurm.sh",
        SLURM_JOB_NODELIST="n[1-2]",
        SLURM_JOB_NUM_NODES="2",
        SLURM_CPUS_PER_TASK="16",
        RESULTS="/shared",
    )
    assert lines == [
        "ray get-auth-token --generate",
        "srun --nodes=2 --ntasks=2 ray symmetric-run --address 10.0.0.1:6379 "
        "--min-nodes 2 --num-cpus=16 --num-gpus=0 -- python -m study.sweep paper "
        "--results /shared --address 10.0.0.1:6379",
    ]


def test_own_machines_get_the_token_of_the_head_and_no_argument_has_it(run):
    lines = run("own-machines.sh", "start", "10.0.0.1", "10.0.0.2")
    starts = [line for line in lines if "ray start" in line]
    ray = "RAY_AUTH_MODE=token plasticity-study/.venv/bin/ray start"
    assert starts == [
        f"ssh 10.0.0.1 {ray} --head --port=6379 --node-ip-address=10.0.0.1",
        f"ssh 10.0.0.2 {ray} --address=10.0.0.1:6379",
    ]
    assert [line for line in lines if "a-token" in line] == ["a-token"]
    assert lines.index("a-token") < lines.index(starts[1])


def test_submit_sends_the_folder_of_the_study(run):
    assert run("submit.sh", "mine", "my study.py", "s3://b/x") == [
        "ray job submit --no-wait --working-dir mine -- "
        "python -m study.sweep my study.py --results s3://b/x"
    ]


def test_metrics_start_with_the_files_of_ray(run, tmp_path):
    (line,) = run("metrics.sh")  # without Grafana
    assert line == (
        "prometheus --config.file=/tmp/ray/session_latest/metrics/prometheus/"
        f"prometheus.yml --storage.tsdb.path={tmp_path}/plasticity-metrics/prometheus "
        "--web.listen-address=127.0.0.1:9090"
    )
    mounts = yaml.safe_load((HERE / "cluster.yaml").read_text())["file_mounts"]
    assert mounts["~/plasticity-study/docs/grafana.json"] == "docs/grafana.json"
    assert (HERE / "docs" / "grafana.json").exists()
