"""The cluster file, cluster.yaml, as `ray up` reads it.

Ray does not read `metadata`. The user's settings stand there, and YAML anchors copy
them to the keys that Ray reads.
"""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path
from typing import Any

import attrs
import boto3
import tyro
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from study.console import only_console_prints
from trainables.usage import UsageError

FileOption = tyro.conf.Positional[str]

TOKEN_FILE = "~/.ray/auth_token"
"""Where Ray looks for its token, on every machine."""

PLACEHOLDER = re.compile(r"<[A-Z][A-Z-]*>")


@attrs.frozen
class ClusterFile:
    """A cluster file that Ray accepts.

    Attributes:
        config: The content, with Ray's defaults for missing keys.
    """

    path: Path
    text: str
    config: dict[str, Any]

    @classmethod
    def read(cls, path: str) -> ClusterFile:
        """Read a cluster file.

        Raises:
            UsageError: The file cannot be read, is not YAML, or Ray refuses it.
        """
        try:
            text = Path(path).read_text()
            content = yaml.safe_load(text)
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"{path}: not valid YAML: {reason}") from None
        if not isinstance(content, dict):
            raise UsageError(f"{path}: has no keys; cluster.yaml is an example")
        try:
            with only_console_prints():  # Ray warns of mounts that are files
                config = prepare_config(content)
                validate_config(config)
        except Exception as error:  # Ray raises anything if the structure is wrong
            key = ".".join(map(str, getattr(error, "absolute_path", ())))
            reason = getattr(error, "message", f"{type(error).__name__}: {error}")
            raise UsageError(f"{path}: Ray refuses {key or 'it'}: {reason}") from None
        return cls(Path(path), text, config)

    @property
    def name(self) -> str:
        """The cluster's name."""
        return str(self.config["cluster_name"])

    @property
    def node_configs(self) -> dict[str, dict[str, Any]]:
        """The arguments of EC2's RunInstances, by node type."""
        types = self.config["available_node_types"]
        return {name: kind["node_config"] for name, kind in types.items()}

    def setting(self, name: str, section: str = "metadata") -> str:
        """Return a setting of the user.

        Raises:
            UsageError: The setting is missing or still a placeholder.
        """
        value = self.config.get(section, {}).get(name)
        if value is None or PLACEHOLDER.search(str(value)):
            raise UsageError(f"{self.path}: set {section}.{name} to your value")
        return str(value)

    def client(self, service: str) -> Any:
        """Return boto3's client of an AWS service in the cluster's region.

        Credentials come from where the AWS command line keeps them.
        """
        return boto3.client(service, region_name=self.setting("region", "provider"))

    def results_location(self) -> tuple[str, str]:
        """Return the bucket and the prefix of the results.

        Raises:
            UsageError: metadata.results is not an s3:// URI, or contains keys.
        """
        parts = urllib.parse.urlsplit(self.setting("results"))
        if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc:
            raise UsageError(
                f"{self.path}: metadata.results is not s3://bucket/prefix; set it so, "
                "without keys"
            )
        return parts.netloc, parts.path.strip("/")
