"""Connect to a Ray cluster, or start Ray on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
from collections.abc import Iterator

import ray

from study.console import say
from trainables.patience import first_line
from trainables.usage import UsageError

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for an answer at an address; Ray itself would try for minutes."""


@contextlib.contextmanager
def connected(address: str | None, study: str) -> Iterator[None]:
    """Connect to Ray for as long as the context lasts.

    Args:
        address: Of a cluster; None: $RAY_ADDRESS, else the Ray that runs on this
            machine, else a new one.
        study: The name of the job on Ray's dashboard.

    Raises:
        UsageError: There is no Ray at the address.
    """
    target = address or os.environ.get("RAY_ADDRESS") or ""
    _check_address(target)
    last: str = ray._private.utils.read_ray_address() or ""
    if not target and _connection_error(last):
        say(f"The Ray at {last}, last started here, is gone: starting a new one.")
        address = "local"
    metadata = {"job_name": f"plasticity study {study}"}
    try:
        context = ray.init(
            address=address,
            job_config=ray.job_config.JobConfig(metadata=metadata),
            # errors of trials are shown by `study.running.tuning`
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = first_line(error)
        if target and os.environ.get("RAY_AUTH_MODE") != "token":
            reason += ": if it asks for a token, set RAY_AUTH_MODE=token"
        raise UsageError(f"no Ray at {target or 'this machine'}: {reason}") from error
    try:
        say(_dashboard_line(context.dashboard_url))
        yield
    finally:
        ray.shutdown()


def _dashboard_line(url: str | None) -> str:
    if not url:
        return "Ray dashboard: none; the study runs without it"
    has_token = os.environ.get("RAY_AUTH_MODE") == "token"
    hint = " (asks for a token: `ray get-auth-token` prints it)" if has_token else ""
    return f"Ray dashboard: http://{url}{hint}"


def _check_address(address: str) -> None:
    """Check that something answers at an address, if it has a port.

    Raises:
        UsageError: Nothing answers, or it is an address of Ray's client.
    """
    if address.startswith("ray://"):
        raise UsageError(
            f"--address is {address}: Ray's client cannot run a study: run the command "
            "on a node, as by `ray exec` or `ray job submit`"
        )
    if error := _connection_error(address):
        raise UsageError(
            f"no Ray at {address}: {error}: start one there, or leave out --address "
            "and $RAY_ADDRESS for a local Ray"
        )


def _connection_error(address: str) -> Exception | None:
    """Return why nothing answers at HOST:PORT; None for other addresses."""
    match = re.fullmatch(r"\[?(.+?)\]?:(\d{1,5})", address)
    if not match:
        return None
    try:
        socket.create_connection((match[1], int(match[2])), CONNECT_TIMEOUT).close()
    except (OSError, OverflowError) as error:
        return error
    return None
