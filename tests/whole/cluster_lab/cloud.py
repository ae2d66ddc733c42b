"""The lab's cloud: moto's AWS, and metadata with the credentials of a node's role.

    cloud.py ADDRESS METADATA_ADDRESS NO_SPOT

moto has metadata too, but not as AWS's C++ library, which pyarrow uses, asks for it;
and of several instances it hands out the fewest that will do, AWS the most. While the
file NO_SPOT exists, there is no capacity for spot instances.
"""

from __future__ import annotations

import datetime
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROLE = "the-role-of-the-node"
FOLDER = "/latest/meta-data/iam/security-credentials"
NO_CAPACITY = "There is no Spot capacity available that matches your request."
LIFE = datetime.timedelta(hours=6)


class Metadata(BaseHTTPRequestHandler):
    """Answers the three questions that lead to credentials."""

    def do_PUT(self) -> None:
        self._say("a-session" if self.path == "/latest/api/token" else None)

    def do_GET(self) -> None:
        if self.headers.get("x-aws-ec2-metadata-token") != "a-session":
            self._say(None, 401)
        elif self.path.rstrip("/") == FOLDER:
            self._say(ROLE)
        elif self.path == f"{FOLDER}/{ROLE}":
            self._say(json.dumps(credentials()))
        elif self.path == "/latest/meta-data/placement/availability-zone":
            self._say("us-west-2a")
        else:
            self._say(None)

    def _say(self, text: str | None, code: int = 404) -> None:
        body = (text or "").encode()
        self.send_response(code if text is None else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
        self.end_headers()
        self.wfile.write(body)


def credentials() -> dict[str, str]:
    """Return a role's, which end as AWS's do."""
    now = datetime.datetime.now(datetime.UTC)
    return {
        "Code": "Success",
        "LastUpdated": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "Type": "AWS-HMAC",
        "AccessKeyId": "ASIAOFTHELABSROLE000",
        "SecretAccessKey": "of-the-role",
        "Token": "of-the-session",
        "Expiration": f"{now + LIFE:%Y-%m-%dT%H:%M:%SZ}",
    }


def serve(address: str, metadata: str, no_spot: str) -> None:
    """Serve both on port 80, until the end."""
    from moto.ec2.exceptions import EC2ClientError
    from moto.ec2.responses.instances import InstanceResponse
    from moto.server import main

    inner = InstanceResponse._get_param

    def most(self, name, *default, **named):
        return inner(
            self, "MaxCount" if name == "MinCount" else name, *default, **named
        )

    start = InstanceResponse.run_instances

    def refuse(self):
        market = inner(self, "InstanceMarketOptions.MarketType")
        if market == "spot" and Path(no_spot).exists():
            raise EC2ClientError("InsufficientInstanceCapacity", NO_CAPACITY)
        return start(self)

    InstanceResponse._get_param = most
    InstanceResponse.run_instances = refuse
    there = ThreadingHTTPServer((metadata, 80), Metadata)
    threading.Thread(target=there.serve_forever, daemon=True).start()
    main(["-H", address, "-p", "80"])


if __name__ == "__main__":
    serve(*sys.argv[1:])
