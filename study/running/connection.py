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
"""Seconds to wait for an answer at an address. Ray itself would try for minutes."""


@contextlib.contextmanager
def connected(address: str | None, study: str) -> Iterator[None]:
    """Connect to Ray for as long as the context lasts.

    Args:
        address: The address of a Ray cluster. If it is None, use $RAY_ADDRESS. If that
            is not set, use the Ray that runs on this machine, or start Ray.
        study: The study's name, which Ray's dashboard shows as the job's name.

    Raises:
        UsageError: Ray does not run at the address.
    """
    target = address or os.environ.get("RAY_ADDRESS") or ""
    _check_address(target)
    last: str = ray._private.utils.read_ray_address() or ""
    if not target and _connection_error(last):
        say(f"The Ray that ran here at {last} has ended. Starting a new Ray.")
        address = "local"
    metadata = {"job_name": f"plasticity study {study}"}
    try:
        context = ray.init(
            address=address,
            job_config=ray.job_config.JobConfig(metadata=metadata),
            # `study.running.tuning` shows the errors of trials
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = first_line(error)
        if target and os.environ.get("RAY_AUTH_MODE") != "token":
            reason += ": if Ray asks for a token, set RAY_AUTH_MODE=token"
        raise UsageError(f"no Ray at {target or 'this machine'}: {reason}") from error
    try:
        say(_dashboard_line(context.dashboard_url))
        yield
    finally:
        ray.shutdown()


def _dashboard_line(url: str | None) -> str:
    if not url:
        return "Ray has no dashboard. The study runs without a dashboard."
    has_token = os.environ.get("RAY_AUTH_MODE") == "token"
    hint = " (to get its token, run `ray get-auth-token`)" if has_token else ""
    return f"Ray dashboard: http://{url}{hint}"


def _check_address(address: str) -> None:
    """Check that a program answers at an address, if the address has a port.

    Raises:
        UsageError: No program answers, or the address is one of Ray's client.
    """
    if address.startswith("ray://"):
        raise UsageError(
            f"--address is {address}, but Ray's client cannot run a study: run the "
            "command on a node, with `ray exec` or `ray job submit`"
        )
    if error := _connection_error(address):
        raise UsageError(
            f"no Ray at {address}: {error}: start Ray there; or, to use a local Ray, "
            "leave out --address and unset $RAY_ADDRESS"
        )


def _connection_error(address: str) -> Exception | None:
    """Return why no program answers at HOST:PORT, or None for any other address."""
    match = re.fullmatch(r"\[?(.+?)\]?:(\d{1,5})", address)
    if not match:
        return None
    try:
        socket.create_connection((match[1], int(match[2])), CONNECT_TIMEOUT).close()
    except (OSError, OverflowError) as error:
        return error
    return None
