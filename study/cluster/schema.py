"""Unknown keys of a cluster's file: by Ray's own schema, and by AWS's own model.

Ray's schema lets anything pass under `provider` and `node_config`, where a wrong word
costs the most: AWS is asked for another machine, or Ray keeps what it should end.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jsonschema

from study.cluster.file import SETTINGS, ClusterFile
from trainables.usage import UsageError

PROVIDER = {
    "aws_credentials",
    "cloudwatch",
    "disable_launch_config_check",
    "key_pair",
}
"""What Ray 2.60's AWS provider reads and its schema does not name."""

NODE_CONFIG = {"SubnetIds"}
"""What Ray puts into a node's config and AWS does not know."""


def unknown_keys(file: ClusterFile) -> Iterator[str]:
    """Yield what Ray's schema, AWS or this program does not know, a line each."""
    schema = _schema()
    for error in jsonschema.Draft7Validator(schema).iter_errors(file.config):
        yield from _lines(error)
    provider = file.config.get("provider")
    if isinstance(provider, dict):
        known = PROVIDER | schema["properties"]["provider"]["properties"].keys()
        yield from _strangers("provider", provider, known)
    yield from _strangers("metadata", file.settings, SETTINGS)
    yield from _node_configs(file)


def _schema() -> dict[str, Any]:
    """Return Ray's schema, without importing Ray."""
    spec = importlib.util.find_spec("ray")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("Ray is not installed: pip install -c constraints.txt -e .")
    path = Path(spec.submodule_search_locations[0]) / "autoscaler" / "ray-schema.json"
    schema: dict[str, Any] = json.loads(path.read_text())
    return schema


def _lines(error: jsonschema.ValidationError) -> Iterator[str]:
    """Yield what one violation of the schema means."""
    where = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.schema, dict):
        yield from _strangers(where, error.instance, error.schema.get("properties", {}))
    else:
        yield f"{where or 'the file'}: {error.message}"


def _strangers(where: str, held: dict[str, Any], known: Iterable[str]) -> Iterator[str]:
    """Yield the keys that are not known, with the nearest one that is."""
    names = sorted(known)
    for key in held:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, n=1, cutoff=0.6)
            hint = f": did you mean {near[0]}?" if near else ""
            yield f"{where}{'.' * bool(where)}{key}: unknown key{hint}"


def _node_configs(file: ClusterFile) -> Iterator[str]:
    """Yield what AWS does not know of what it is asked for."""
    if not _on_aws(file):
        return
    try:
        shape = _run_instances()
    except ImportError:
        yield (
            "boto3 is not installed, which `ray up` needs for AWS: "
            "pip install -c constraints.txt -e '.[cluster]'"
        )
        return
    for name in file.node_types:
        where = f"available_node_types.{name}.node_config"
        mine = {k: v for k, v in file.node_config(name).items() if k not in NODE_CONFIG}
        yield from _against(where, mine, shape)


@functools.cache
def _run_instances() -> Any:
    """Return botocore's model of what AWS is asked for.

    Raises:
        ImportError: There is no botocore.
    """
    import botocore.session

    ec2 = botocore.session.get_session().get_service_model("ec2")
    return ec2.operation_model("RunInstances").input_shape


def _on_aws(file: ClusterFile) -> bool:
    provider = file.config.get("provider")
    return isinstance(provider, dict) and provider.get("type") == "aws"


KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "double": (int, float),
}
"""What the values of AWS's types are in YAML."""


def _against(where: str, value: Any, shape: Any) -> Iterator[str]:
    """Yield what does not fit a shape of botocore's, whatever lies in what."""
    if shape.type_name == "structure":
        if not isinstance(value, dict):
            yield f"{where}: is {value!r}: give keys and values"
            return
        yield from _strangers(where, value, shape.members)
        for key, inner in value.items():
            if key in shape.members:
                yield from _against(f"{where}.{key}", inner, shape.members[key])
    elif shape.type_name == "list":
        if not isinstance(value, list):
            yield f"{where}: is {value!r}: give a list"
            return
        for index, inner in enumerate(value):
            yield from _against(f"{where}[{index}]", inner, shape.member)
    elif shape.type_name in KINDS:
        kinds = KINDS[shape.type_name]
        if not isinstance(value, kinds) or (
            isinstance(value, bool) and bool not in kinds
        ):
            yield f"{where}: is {value!r}: AWS wants a {shape.type_name}"
        elif shape.enum and value not in shape.enum:
            near = difflib.get_close_matches(str(value), shape.enum, n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            yield f"{where}: AWS knows no {value}{hint}"
