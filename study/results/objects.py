"""Write single objects to S3, or to a store that has the interface of S3.

pyarrow writes even a small object in several requests (a multipart upload). If a signal
comes between two requests, pyarrow completes an object that has only a part of the
content, or is empty. In this module, a put is one request. So after a signal, the store
has the old object or the new object.

A put can be conditional. The store then writes only if the object has not changed since
it was read (RFC 9110, `If-Match` and `If-None-Match`; Amazon S3 User Guide, "Add
preconditions to S3 operations with conditional requests").
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import attrs

CONNECT_SECONDS = 5  # how long to wait for a connection to an object store
ANSWER_SECONDS = 15  # how long to wait for each answer of an object store
ATTEMPTS = 2  # how often a request is sent before it fails

_creation = threading.Lock()  # boto3 can create only one client at a time


@attrs.frozen
class Objects:
    """The objects of a store. A path is BUCKET/KEY.

    All errors are OSErrors: FileNotFoundError if an object does not exist.
    """

    client: Any  # boto3's client of S3

    @classmethod
    def connect(cls, filesystem: Any) -> Objects:
        """Create a client for the store of an S3FileSystem, without a request."""
        import boto3
        from botocore.config import Config

        options = s3_options(filesystem)
        endpoint = options["endpoint_override"]
        if endpoint and "://" not in endpoint:
            endpoint = f"{options['scheme']}://{endpoint}"
        variables = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
        own_endpoint = endpoint or any(os.environ.get(name) for name in variables)
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=ANSWER_SECONDS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            # pyarrow uses the same three options. Stores other than Amazon S3 do not
            # always support bucket names in the host name, or checksums.
            s3={"addressing_style": "path" if own_endpoint else "auto"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        with _creation:
            client = boto3.session.Session().client(
                "s3",
                region_name=options["region"] or None,
                endpoint_url=endpoint or None,
                config=config,
            )
        return cls(client)

    def put(self, path: str, content: bytes) -> None:
        """Write an object in one request."""
        with _os_errors(path):
            self.client.put_object(**_address(path), Body=content)

    def get(self, path: str) -> tuple[bytes, str]:
        """Return the content and the tag (ETag) of an object."""
        with _os_errors(path):
            answer = self.client.get_object(**_address(path))
            return answer["Body"].read(), str(answer["ETag"])

    def replace(self, path: str, content: bytes, tag: str | None) -> str | None:
        """Write an object if it still has this tag. With None, create the object.

        Return the new tag. If another process has changed the object, return None.
        """
        from botocore.exceptions import ClientError

        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        with _os_errors(path):
            try:
                answer = self.client.put_object(
                    **_address(path), Body=content, **condition
                )
            except ClientError as error:
                # 404: the object with this tag was deleted
                if _code(error) in ("PreconditionFailed", "412", "NoSuchKey", "404"):
                    return None
                raise
        return str(answer["ETag"])


def s3_options(filesystem: Any) -> dict[str, Any]:
    """Return the options of pyarrow's S3FileSystem: region, scheme and so on."""
    (options,) = filesystem.__reduce__()[1]
    return dict(options)


def _address(path: str) -> dict[str, str]:
    bucket, _, key = path.partition("/")
    return {"Bucket": bucket, "Key": key}


def _code(error: Exception) -> str:
    """Return the code of an error in the store's answer; "" without an answer."""
    answer: dict[str, Any] = getattr(error, "response", None) or {}
    return str(answer.get("Error", {}).get("Code", ""))


@contextlib.contextmanager
def _os_errors(path: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        if _code(error) in ("NoSuchKey", "404"):
            raise FileNotFoundError(2, "there is no such object", path) from None
        raise OSError(f"{path}: {error}") from None
