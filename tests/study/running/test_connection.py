"""The Ray cluster that a sweep uses if the user gives no address."""

from __future__ import annotations

import os
import socket

import pytest

from study.running.connection import _last_cluster


@pytest.fixture
def cluster(tmp_path):
    """A file with the address of a program that answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        file = tmp_path / "ray_current_cluster"
        file.write_text(f"127.0.0.1:{server.getsockname()[1]}\n")
        yield file, server


def test_this_users_cluster_is_joined_while_it_answers(cluster, tmp_path, capsys):
    file, server = cluster
    assert _last_cluster(file) == file.read_text().strip()
    assert capsys.readouterr().out == ""
    server.close()
    assert _last_cluster(file) == "local"
    assert "does not answer. Starting Ray on this machine." in capsys.readouterr().out
    assert _last_cluster(tmp_path / "none") == "local"


def test_another_users_cluster_is_not_joined(cluster, monkeypatch, capsys):
    file, server = cluster
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    assert _last_cluster(file) == "local"
    address = file.read_text().strip()
    assert f"give --address {address}" in capsys.readouterr().out
    server.settimeout(0)
    with pytest.raises(BlockingIOError):  # it did not even get a connection
        server.accept()
