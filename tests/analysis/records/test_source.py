"""A bucket that does not answer is one clear line, and soon."""

import socket
import subprocess
import sys
import time

import pytest

from analysis.records import source
from analysis.records.load import load
from trainables.usage import UsageError


@pytest.fixture
def silent():
    """A server that accepts connections and never answers; return its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_bucket_without_an_answer_is_one_line(silent, monkeypatch, scheme):
    monkeypatch.setattr(source, "PATIENCE", 0.5)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "one")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "two")
    uri = {
        "s3": f"s3://bucket/results?endpoint_override=http%3A//{silent}&region=x",
        "gs": f"gs://anonymous@bucket/results?endpoint_override={silent}&scheme=http",
    }[scheme]
    before = time.monotonic()
    with pytest.raises(UsageError, match=r"cannot read \w+://.* within 0.5 seconds"):
        load(uri)
    assert time.monotonic() - before < 5


def test_the_program_ends_while_the_bucket_is_silent(silent):
    code = f"""
from analysis.records import source
from analysis.records.load import load
source.PATIENCE = 0.5
load("gs://anonymous@bucket/results?endpoint_override={silent}&scheme=http")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "no answer within 0.5 seconds" in done.stderr.splitlines()[-1]


def test_an_error_of_the_file_system_is_passed_on():
    with pytest.raises(UsageError, match=r"cannot read ftp://x/y: .*ftp"):
        load("ftp://x/y")
