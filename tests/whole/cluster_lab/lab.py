"""The lab as Python sees it: hosts, a cloud of moto's, and the project on a laptop."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[3]
SCRIPT = Path(__file__).with_name("lab.sh")
PROGRAMS = ("ip", "unshare", "sshd", "ssh", "ssh-keygen", "rsync", "curl")
BUCKET = "plasticity-lab"
DASHBOARD = "http://localhost:8265"
METADATA = "169.254.169.254"
CLOUD = "http://172.31.0.250"
ADDRESS = CLOUD.removeprefix("http://")
USER = {
    "AWS_ACCESS_KEY_ID": "a-user-of-the-cloud",
    "AWS_SECRET_ACCESS_KEY": "of-the-lab",
    "AWS_DEFAULT_REGION": "us-west-2",
    "AWS_ENDPOINT_URL": CLOUD,
    "RAY_AUTH_MODE": "token",
    "RAY_API_SERVER_ADDRESS": DASHBOARD,
}
"""What the user on the laptop has in the environment; the nodes have none of it."""


def lacking():
    """Return why there can be no lab here, or nothing."""
    if os.geteuid():
        return "needs root, to make network namespaces"
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    lack = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    if lack:
        return f"needs {', '.join(lack)}: apt-get install iproute2 openssh-server rsync"
    if subprocess.run(["unshare", "-n", "-m", "-p", "-f", "true"]).returncode:
        return "this machine allows no namespaces"
    return ""


class Lab:
    """A laptop and four hosts, of which moto hands out those that are asked for."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.checkout = self.folder / "home" / "checkout"
        self.no_spot = self.folder / "no-spot"
        self.transcript = ""
        self._cloud = None
        shutil.copy(HERE / "constraints.txt", self.folder)
        self.script("down")
        self.script("up")

    def script(self, *words, check=True):
        variables = {"LAB": str(self.folder), "VENV": sys.prefix}
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        clean = {k: os.environ[k] for k in ("LANG", "TMPDIR") if k in os.environ}
        return subprocess.run(
            [str(SCRIPT), *map(str, words)],
            env=clean | variables | {"PATH": path, "TERM": "dumb"},
            check=check,
        )

    def command(self, host, command, **variables):
        """Return what `subprocess` needs to run a command on a host."""
        named = " ".join(f"{k}='{v}'" for k, v in variables.items())
        return {
            "args": [str(SCRIPT), "on", host, f"export {named or 'A='}; {command}"],
            "env": {
                "LAB": str(self.folder),
                "VENV": sys.prefix,
                "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
                "TERM": "dumb",
            },
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
        }

    def laptop(self, command, timeout=1200, code=0, show=""):
        """Run a command as the user does, in the project; return its output.

        The output comes into the transcript below `show`, if there is such a text.
        """
        done = subprocess.run(
            **self.command("laptop", f"cd ~/checkout; {command}", **USER),
            timeout=timeout,
        )
        print(f"$ {command}\n{done.stdout}", flush=True)
        if show:
            self.transcript += f"$ {show}\n{self._as_in_a_terminal(done.stdout)}"
        if code is not None:
            assert done.returncode == code, (command, done.returncode, done.stdout)
        return done.stdout

    def _as_in_a_terminal(self, text):
        """Drop what Ray adds outside a terminal: times, colors and details."""
        text = re.sub(r"\x1b\[\d*m", "", text.replace(f"{self.folder}/home", "~"))
        text = re.sub(r"(?m)^[\d-]+ [\d:,]+\tV+INFO .*\n", "", text)
        return re.sub(r"(?m)^[\d-]+ [\d:,]+\t\w+ \S+ -- ", "", text)

    def head(self, command, **more):
        """Run a command on the head, as `ray exec` does."""
        return self.laptop(f"ray exec cluster.yaml {shlex.quote(command)}", **more)

    def begin(self):
        """Start the cloud, with a bucket and a key, and lay out the project."""
        log = open(self.folder / "moto.log", "w")  # noqa: SIM115
        server = Path(__file__).with_name("cloud.py")
        command = (
            f"{sys.executable} -W ignore {server} {ADDRESS} {METADATA} {self.no_spot}"
        )
        told = self.command("laptop", command) | {"stdout": log}
        self._cloud = subprocess.Popen(**told)
        log.close()
        tree = self.folder / "hosts" / "laptop" / "home" / "checkout"
        names = subprocess.run(
            ["git", "-C", str(HERE), "ls-files"], capture_output=True, text=True
        ).stdout.split("\n")
        for name in filter(None, names):
            if (HERE / name).is_file():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(HERE / name, tree / name)
        git = HERE / ".git"
        (shutil.copytree if git.is_dir() else shutil.copy)(git, tree / ".git")
        ssh = tree.parent / ".ssh"
        key = ssh / "ray-autoscaler_us-west-2.pem"
        shutil.copy(self.folder / "keys" / "id", key)
        key.chmod(0o600)
        deadline = time.monotonic() + 120
        while self._ask(f"curl -s -o /dev/null {CLOUD}"):
            assert time.monotonic() < deadline, "moto did not start"
            time.sleep(0.5)
        self.aws(
            f"boto3.client('s3').create_bucket(Bucket='{BUCKET}', "
            "CreateBucketConfiguration={'LocationConstraint': 'us-west-2'})"
        )
        self.aws(
            "boto3.client('ec2').import_key_pair(KeyName="
            "'ray-autoscaler_us-west-2', PublicKeyMaterial=open("
            f"'{self.folder}/keys/id.pub', 'rb').read())"
        )

        # the hosts have the addresses of one of the cloud's subnets
        self.aws(
            "[s.delete() and 0 for s in boto3.resource('ec2').subnets.all() "
            "if s.cidr_block != '172.31.0.0/20']"
        )

    def _ask(self, command):
        return subprocess.run(**self.command("laptop", command)).returncode

    def aws(self, expression):
        """Return what a line of boto3 says to the user on the laptop."""
        code = f"import boto3, json; print(json.dumps({expression}, default=str))"
        path = self.folder / "hosts" / "laptop" / "home" / "ask.py"
        path.write_text(code)
        return self.laptop("python ~/ask.py 2>&1").strip()

    def instances(self, *states):
        """Return the ids and addresses of the cloud's instances."""
        told = self.aws(
            "[[i.id, i.private_ip_address, i.instance_type] for i in boto3.resource("
            "'ec2').instances.all() if i.state['Name'] in "
            f"{list(states) or ['running', 'pending']!r}]"
        )
        return json.loads(told)

    def host(self, address):
        """Return the name of the host that has an address."""
        return f"n{address.rpartition('.')[2]}"

    def take_away(self, instance, address):
        """End an instance and all on it, as a cloud does with a spot node."""
        self.script("kill", self.host(address))
        self.aws(f"boto3.client('ec2').terminate_instances(InstanceIds=['{instance}'])")
        self.script("boot", self.host(address))  # for the next that has its address

    @contextlib.contextmanager
    def dashboard(self):
        """Forward the port of the dashboard to the laptop, as `ray dashboard` does."""
        command = "cd ~/checkout; exec ray dashboard cluster.yaml"
        forward = self.command("laptop", command, **USER)
        forward["stdout"] = subprocess.DEVNULL
        with subprocess.Popen(**forward) as process:
            try:
                answer = f"curl -s -o /dev/null {DASHBOARD}"
                deadline = time.monotonic() + 300
                while self._ask(answer):
                    assert time.monotonic() < deadline, "no dashboard"
                    time.sleep(0.5)
                yield
            finally:
                # with its namespace's first process, all that the command has started
                process.kill()

    def log(self, job):
        """Return what a job has said so far."""
        logs = self.folder.glob(f"hosts/n4/tmpray/session_2*/logs/job-driver-{job}.log")
        return "".join(path.read_text() for path in logs)

    def processes(self):
        """Return the command lines of what runs on the hosts but their sshd."""
        found = []
        for host in ("n4", "n5", "n6", "n7"):
            told = subprocess.run(
                ["/usr/sbin/ip", "netns", "pids", f"plab-{host}"],
                capture_output=True,
                text=True,
            )
            for pid in told.stdout.split():
                with contextlib.suppress(OSError):
                    words = Path(f"/proc/{pid}/cmdline").read_bytes()
                    found.append(words.replace(b"\0", b" ").decode().strip())
        quiet = ("sshd", "unshare", "bash -c", "/usr/sbin/sshd")
        return [w for w in found if w and not w.startswith(quiet)]

    def close(self):
        self.script("down")
        if self._cloud:
            self._cloud.wait(timeout=30)

    def describe(self, changes=()):
        """Fill in cluster.yaml as its user does; put in the lab's addresses and image.

        Nothing else is changed but `changes`, pairs of an old and a new text: moto's
        subnet has no public addresses, and its images have neither Ubuntu's user nor a
        name that Amazon gave; a node has one CPU, so that two trials run at once.
        """
        tree = self.folder / "hosts" / "laptop" / "home" / "checkout"
        image = self.aws(
            "boto3.client('ec2').describe_images()['Images'][0]['ImageId']"
        )
        user = {
            "s3://<BUCKET>/": f"s3://{BUCKET}/",
            "<CIDR>": f"{ADDRESS}/32",
            "most_workers: &most 4": "most_workers: &most 2",
        }
        lab = {
            "<IMAGE>": image.strip('"'),
            "ssh_user: ubuntu": "ssh_user: root",
            "use_internal_ips: false": "use_internal_ips: true",
            "resources: {}": "resources: {CPU: 1}",
        }
        path = tree / "cluster.yaml"
        text = path.read_text()
        for old, new in (user | lab | dict(changes)).items():
            assert text.count(old) >= 1, old
            text = text.replace(old, new)
        path.write_text(text)
