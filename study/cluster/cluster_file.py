"""The cluster file, cluster.yaml, as `ray up` reads it.

Ray does not read `metadata`. The user's settings stand there, and YAML anchors copy
them to the keys that Ray reads.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
import yaml

from trainables.usage import UsageError

TOKEN_FILE = "~/.ray/auth_token"
"""Where Ray looks for its token, on every machine."""

PLACEHOLDER = re.compile(r"<[A-Z][A-Z-]*>")


@attrs.frozen
class ClusterFile:
    """A cluster file: its path, text and content, which Ray's schema may refuse."""

    path: Path
    text: str
    config: dict[str, Any]

    @classmethod
    def read(cls, path: str) -> ClusterFile:
        """Read a cluster file.

        Raises:
            UsageError: The file cannot be read, or is not a YAML mapping.
        """
        try:
            text = Path(path).read_text()
            config = yaml.safe_load(text)
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"{path}: not valid YAML: {reason}") from None
        if not isinstance(config, dict):
            raise UsageError(f"{path}: has no keys; cluster.yaml is an example")
        return cls(Path(path), text, config)

    @property
    def name(self) -> str:
        """The cluster's name."""
        return str(self.config.get("cluster_name", ""))

    @property
    def region(self) -> str:
        """The AWS region."""
        return str(self.mapping("provider").get("region", ""))

    @property
    def node_types(self) -> dict[str, dict[str, Any]]:
        """The node types, by name."""
        types = self.mapping("available_node_types")
        return {str(name): as_mapping(kind) for name, kind in types.items()}

    @property
    def worker_types(self) -> dict[str, dict[str, Any]]:
        """The node types except the head's."""
        head = self.config.get("head_node_type")
        return {name: kind for name, kind in self.node_types.items() if name != head}

    @property
    def node_configs(self) -> dict[str, dict[str, Any]]:
        """The arguments of EC2's RunInstances, by the key where they stand."""
        return {
            f"available_node_types.{name}.node_config": as_mapping(
                kind.get("node_config")
            )
            for name, kind in self.node_types.items()
        }

    def mapping(self, key: str) -> dict[str, Any]:
        """Return the mapping under a top-level key; empty if there is none."""
        return as_mapping(self.config.get(key))

    def commands(self, key: str) -> list[str]:
        """Return the shell commands under a key, e.g. head_start_ray_commands."""
        commands = self.config.get(key)
        return [str(c) for c in commands] if isinstance(commands, list) else []

    def setting(self, name: str) -> str:
        """Return a setting of `metadata`.

        Raises:
            UsageError: The setting is missing or still a placeholder.
        """
        value = self.mapping("metadata").get(name)
        if not is_set(value):
            raise UsageError(
                f"{self.path}: set metadata.{name}; a comment says to what"
            )
        return str(value)


def as_mapping(value: Any) -> dict[str, Any]:
    """Return a mapping as it is, and an empty one for any other value."""
    return value if isinstance(value, dict) else {}


def is_set(value: Any) -> bool:
    """Return whether a value is neither missing nor a placeholder."""
    return value is not None and not PLACEHOLDER.search(str(value))
