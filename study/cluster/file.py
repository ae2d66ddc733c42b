"""A cluster's file, as `ray up` reads it, and what its user sets in it.

Ray's schema refuses keys that it does not know, but leaves `metadata` alone: what a
user sets stands there, and YAML's anchors bring it to where Ray reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trainables.usage import UsageError

SETTINGS: dict[str, str] = {
    "results": "where the study's results go, as s3://bucket/prefix",
    "ssh_from": "who may log in, as 203.0.113.7/32",
    "region": "of AWS",
    "most_workers": "at once",
    "worker_price": "US dollars an hour, at most",
    "head_price": "US dollars an hour",
    "image_name": "a dated image's name",
    "image": "its id in the region",
    "security_group": "the id of the cluster's own",
}
"""What stands under `metadata`."""

TOKEN = "~/.ray/auth_token"
"""Where Ray looks for its token, on every machine."""

PLACEHOLDER = re.compile(r"<[A-Z][A-Z0-9-]*>")


@dataclass(frozen=True)
class ClusterFile:
    """A cluster's file.

    Attributes:
        path: Where it lies.
        config: What it holds.
    """

    path: Path
    config: dict[str, Any]

    @property
    def name(self) -> str:
        """The cluster's."""
        return str(self.config.get("cluster_name", ""))

    @property
    def settings(self) -> dict[str, Any]:
        """What its user sets."""
        return _mapping(self.config.get("metadata"))

    @property
    def head(self) -> str:
        """The name of the head's node type."""
        return str(self.config.get("head_node_type", ""))

    @property
    def node_types(self) -> dict[str, dict[str, Any]]:
        """The kinds of nodes, by name."""
        types = _mapping(self.config.get("available_node_types"))
        return {str(name): _mapping(kind) for name, kind in types.items()}

    @property
    def workers(self) -> dict[str, dict[str, Any]]:
        """The kinds of nodes but the head's."""
        return {n: kind for n, kind in self.node_types.items() if n != self.head}

    def node_config(self, name: str) -> dict[str, Any]:
        """Return what AWS is asked for, for a node of a kind."""
        return _mapping(self.node_types[name].get("node_config"))

    def commands(self, *kinds: str) -> list[str]:
        """Return the shell commands of some kinds, as head_start_ray_commands."""
        found = [self.config.get(kind) for kind in kinds]
        return [str(c) for part in found if isinstance(part, list) for c in part]

    def setting(self, name: str) -> str:
        """Return what the user has set.

        Raises:
            UsageError: Nothing.
        """
        value = self.settings.get(name)
        if value is None or PLACEHOLDER.search(str(value)):
            raise UsageError(
                f"{self.path}: metadata.{name} is not set: give {SETTINGS[name]}"
            )
        return str(value)

    def placeholders(self) -> list[tuple[str, str]]:
        """Return where a placeholder is left, and which; anchors' copies are not told.

        Where nothing but copies are, all are told.
        """
        found = [
            (where, mark)
            for where, value in leaves(self.config)
            if isinstance(value, str)
            for mark in PLACEHOLDER.findall(value)
        ]
        own = {mark for where, mark in found if where.startswith("metadata.")}
        return [f for f in found if f[0].startswith("metadata.") or f[1] not in own]


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of everything that holds nothing else.

    >>> list(leaves({"a": [1, {"b": 2}]}))
    [('a[0]', 1), ('a[1].b', 2)]
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{where}[{index}]")
    else:
        yield where, value


def read(path: str) -> ClusterFile:
    """Read a cluster's file.

    Raises:
        UsageError: There is none, or it is no YAML mapping.
    """
    try:
        config = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is no text") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        why = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UsageError(f"{path}{line}: is no YAML: {why}") from None
    if not isinstance(config, dict):
        raise UsageError(f"{path}: holds no keys: cluster.yaml is an example")
    return ClusterFile(Path(path), config)


def fill(path: Path, placeholder: str, value: str) -> None:
    """Put a value where a placeholder is, and leave all else as it stands."""
    text = path.read_text()
    path.write_text(re.sub(rf"(?m)^([^#\n]*){placeholder}", rf"\g<1>{value}", text))
