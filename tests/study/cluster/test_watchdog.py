"""A node that nobody needs shuts itself down, and no other node does.

The head is a socket that closes, and the command for the shutdown creates a folder.
"""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from study.cluster import watchdog


class Clock:
    """A clock that runs only while the watchdog sleeps."""

    def __init__(self):
        self.now = 0.0

    def sleep(self, seconds):
        self.now += seconds


def end_of_watch(needed, limit, **more):
    """Return the result of a watchdog and its end; `needed` is a function of time."""
    clock = Clock()
    ended = watchdog.watch(
        lambda: needed(clock.now),
        limit,
        interval=10,
        sleep=clock.sleep,
        clock=lambda: clock.now,
        **more,
    )
    return ended, clock.now


def test_a_worker_ends_ten_minutes_after_the_last_answer_of_its_head():
    assert end_of_watch(lambda now: False, 600) == (True, 600)
    assert end_of_watch(lambda now: now <= 5000, 600) == (True, 5600)


def test_a_head_that_is_away_for_less_than_the_limit_ends_nothing():
    def flapping(now):  # away for 590 of each 600 seconds, until 9000
        return now % 600 == 0 and now <= 9000

    assert end_of_watch(flapping, 600) == (True, 9600)


def test_an_older_watchdog_ends_without_a_shutdown():
    newest = iter([True, True, False])
    assert end_of_watch(lambda now: False, 600, is_newest=lambda: next(newest)) == (
        False,
        20,
    )


def test_a_worker_whose_head_dies_runs_the_command_once(tmp_path):
    shut_down = tmp_path / "shut-down"
    with socket.create_server(("127.0.0.1", 0)) as head:
        port = head.getsockname()[1]
        words = ("worker", "127.0.0.1", "--port", port, "--interval", 0.05)
        words += ("--minutes", 0.01, "--command", f"mkdir {shut_down}")
        process = subprocess.Popen(
            [sys.executable, watchdog.__file__, *map(str, words)],
            env=os.environ | {"HOME": str(tmp_path)},
        )
        for _ in range(20):  # it asks many times, and the head answers
            head.accept()[0].close()
        assert process.poll() is None
        assert not shut_down.exists()
    assert process.wait(timeout=60) == 0
    assert shut_down.is_dir()


@pytest.fixture
def ray_head(tmp_path, monkeypatch):
    """Ray's list of jobs, over HTTP: `(url, port, set_jobs)`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("a-token\n")
    jobs = []

    class Head(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            allowed = self.headers["Authorization"] == "Bearer a-token"
            self.send_response(200 if allowed else 401)
            self.end_headers()
            self.wfile.write(json.dumps([{"status": s} for s in jobs]).encode())

        def log_message(self, *words):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Head)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    port = server.server_address[1]
    yield f"http://127.0.0.1:{port}/api/jobs/", port, jobs
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_head_is_needed_while_a_job_runs_or_waits(ray_head):
    url, port, jobs = ray_head
    assert not watchdog.has_jobs(url, port=port)
    jobs += ["SUCCEEDED", "FAILED", "STOPPED"]
    assert not watchdog.has_jobs(url, port=port)
    for status in ("PENDING", "RUNNING"):
        assert watchdog.has_jobs(url, port=port) is False
        jobs.append(status)
        assert watchdog.has_jobs(url, port=port)
        jobs.remove(status)


def test_a_head_that_cannot_say_is_needed_unless_ray_has_ended(ray_head, tmp_path):
    url, port, _ = ray_head
    (tmp_path / ".ray" / "auth_token").write_text("another")
    assert watchdog.has_jobs(url, port=port)
    with socket.create_server(("127.0.0.1", 0)) as free:
        ended = free.getsockname()[1]
    assert not watchdog.has_jobs(url, port=ended)


def test_the_idle_time_is_the_users(tmp_path, capsys):
    path = tmp_path / "config.yaml"
    path.write_text("metadata: {head_idle_minutes: 7}")
    assert watchdog.idle_minutes(str(path)) == 7
    for text in ("metadata: {}", "[", "metadata: {head_idle_minutes: soon}", ""):
        path.write_text(text)
        assert watchdog.idle_minutes(str(path)) == watchdog.HEAD_MINUTES


def test_the_program_needs_nothing_but_python(tmp_path):
    # a node whose setup has failed halfway can lack a virtual environment
    code = Path(watchdog.__file__).read_text()
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, "--help"], capture_output=True
    )
    assert done.returncode == 0, done.stderr
