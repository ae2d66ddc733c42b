"""Connect to a Ray cluster, or start Ray on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import ray

from study.console import say
from trainables.patience import first_line
from trainables.usage import UsageError

CONNECT_TIMEOUT = 10.0  # seconds; Ray itself would wait for minutes


@contextlib.contextmanager
def connected(address: str | None, study: str) -> Iterator[None]:
    """Connect to Ray when the context starts, and disconnect when the context ends.

    If this process is connected to Ray already, do nothing.

    Args:
        address: The address of a Ray cluster, or None to use $RAY_ADDRESS. If
            $RAY_ADDRESS is also missing, connect to the last Ray cluster that this user
            has started on this machine. If there is no such cluster, or if it has
            ended, start Ray on this machine.
        study: The study's name. Ray's dashboard shows this name for the job.

    Raises:
        UsageError: The connection to Ray fails.
    """
    if ray.is_initialized():
        yield
        return
    target = address or os.environ.get("RAY_ADDRESS") or ""
    _check_address(target)
    if not target:
        address = _last_cluster()
    metadata = {"job_name": f"plasticity study {study}"}
    try:
        context = ray.init(
            address=address,
            job_config=ray.job_config.JobConfig(metadata=metadata),
            # do not print the output of workers, because `study.running.tuning` shows
            # the errors of trials
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = first_line(error)
        if target and os.environ.get("RAY_AUTH_MODE") != "token":
            reason += ". If Ray asks for a token, set RAY_AUTH_MODE=token"
        raise UsageError(
            f"cannot connect to Ray at {target or 'this machine'}: {reason}"
        ) from error
    try:
        say(_dashboard_line(context.dashboard_url))
        yield
    finally:
        ray.shutdown()


def _last_cluster(file: Path | None = None) -> str:
    """Return the address of this user's last Ray cluster on this machine, or "local".

    All users of a machine share `file`, Ray's file with this address. If another user
    wrote the address, the cluster is not used, because that cluster would get this
    user's code and token.
    """
    file = file or Path(ray._common.utils.get_ray_address_file(None))
    try:
        with file.open() as stream:
            last, owner = stream.read().strip(), os.fstat(stream.fileno()).st_uid
    except OSError:
        return "local"
    if owner != os.getuid():
        say(
            f"Another user started the Ray cluster at {last}. Starting Ray on this "
            f"machine. To use that cluster instead, give --address {last}"
        )
        return "local"
    if _connection_error(last):
        say(
            f"The last Ray cluster of this machine, at {last}, does not answer. "
            "Starting Ray on this machine."
        )
        return "local"
    return last or "local"


def _dashboard_line(url: str | None) -> str:
    if not url:
        return "Ray has no dashboard. The study runs without a dashboard."
    has_token = os.environ.get("RAY_AUTH_MODE") == "token"
    hint = " (to show the token, run `ray get-auth-token`)" if has_token else ""
    return f"Ray dashboard: http://{url}{hint}"


def _check_address(address: str) -> None:
    """Check that a program answers at an address, if the address is HOST:PORT."""
    if address.startswith("ray://"):
        raise UsageError(
            f"--address is {address}, which uses Ray's client, but Ray's client cannot "
            "run a study. Run the command on the head node with `ray job submit` "
            "(docs/cluster.md)"
        )
    if error := _connection_error(address):
        raise UsageError(
            f"cannot connect to Ray at {address}: {error}. Start Ray at this address. "
            "To use Ray on this machine instead, leave out --address and unset "
            "$RAY_ADDRESS"
        )


def _connection_error(address: str) -> Exception | None:
    """Return the error of a connection to HOST:PORT, or None if there is no error.

    Return None without a test if `address` does not have this form.
    """
    if match := re.fullmatch(r"\[?(.+?)\]?:(\d{1,5})", address):
        try:
            socket.create_connection((match[1], int(match[2])), CONNECT_TIMEOUT).close()
        except (OSError, OverflowError) as error:
            return error
    return None
