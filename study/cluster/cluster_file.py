"""Read the cluster file, cluster.yaml, and validate it with Ray's own functions.

The user's settings are in the section `metadata`, which Ray does not read. YAML anchors
copy the settings to the keys that Ray reads.
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
"""The file in which Ray looks for its authentication token, on every machine."""

PLACEHOLDER = re.compile(r"<[A-Z][A-Z-]*>")


@attrs.frozen
class ClusterFile:
    """A cluster file that Ray accepts.

    Attributes:
        config: The content of the file, with Ray's defaults for missing keys.
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
            # some builds of PyYAML lack the fast loader
            content = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except OSError as error:
            raise UsageError(
                f"{path} cannot be read ({error.strerror}): give the path of your "
                "cluster file"
            ) from None
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise UsageError(
                f"{path} is not valid YAML ({reason}): correct the file"
            ) from None
        if not isinstance(content, dict):
            raise UsageError(
                f"{path} has no keys at its top level: start from a copy of "
                "cluster.yaml in the repository"
            )
        try:
            with only_console_prints():  # Ray warns about each file in file_mounts
                config = prepare_config(content)
                validate_config(config)
        except Exception as error:  # a wrong structure makes Ray raise any error
            key = ".".join(map(str, getattr(error, "absolute_path", ())))
            reason = getattr(error, "message", f"{type(error).__name__}: {error}")
            raise UsageError(
                f"{path}: Ray refuses {key or 'the file'}: {reason}"
            ) from None
        return cls(Path(path), text, config)

    @property
    def name(self) -> str:
        """The cluster's name."""
        return str(self.config["cluster_name"])

    @property
    def roles(self) -> dict[str, str]:
        """The roles that `prepare` creates for this cluster: metadata key -> name."""
        return {f"{kind}_role": f"{self.name}-{kind}" for kind in ("head", "worker")}

    @property
    def node_configs(self) -> dict[str, dict[str, Any]]:
        """The arguments of EC2's call RunInstances for each node type."""
        types = self.config["available_node_types"]
        return {name: kind["node_config"] for name, kind in types.items()}

    def setting(self, name: str, section: str = "metadata") -> str:
        """Return a value that the user must set in a section of the file.

        Raises:
            UsageError: The value is missing or still a placeholder.
        """
        value = self.config.get(section, {}).get(name)
        if value is None or PLACEHOLDER.search(str(value)):
            raise UsageError(
                f"{self.path}: {section}.{name} has no value yet; set it to your value"
            )
        return str(value)

    def client(self, service: str) -> Any:
        """Return boto3's client of an AWS service in the cluster's region."""
        return boto3.client(service, region_name=self.setting("region", "provider"))

    def results_location(self) -> tuple[str, str]:
        """Return the bucket and the prefix in which the results are stored.

        Raises:
            UsageError: metadata.results is not an s3:// URI, or contains access keys.
        """
        parts = urllib.parse.urlsplit(self.setting("results"))
        if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc:
            raise UsageError(
                f"{self.path}: metadata.results is not s3://bucket/prefix; use this "
                "form, without access keys"
            )
        return parts.netloc, parts.path.strip("/")
