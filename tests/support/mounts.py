"""Two sshfs mounts of one folder, as two machines see a folder that they share.

sshfs talks to OpenSSH's sftp-server over a socket of this machine, without SSH.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from pathlib import Path

SERVER = "/usr/lib/openssh/sftp-server"


def lacking():
    """Return why this machine cannot mount a folder with sshfs, or nothing."""
    if shutil.which("sshfs") and Path(SERVER).exists() and Path("/dev/fuse").exists():
        return ""
    return (
        "needs /dev/fuse, sshfs and sftp-server: apt-get install sshfs openssh-server"
    )


class Mounts:
    """Mounts of the folder `origin` at `folders`, each with a connection of its own."""

    def __init__(self, origin, folders):
        self.folders = [Path(folder) for folder in folders]
        origin.mkdir()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._servers = []
        threading.Thread(target=self._serve, daemon=True).start()
        port = self._listener.getsockname()[1]
        for folder in self.folders:
            folder.mkdir()
            words = ["sshfs", "-o", f"directport={port}", f"127.0.0.1:{origin}", folder]
            subprocess.run(words, check=True)

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # the listener is closed
                return
            with connection:
                self._servers.append(
                    subprocess.Popen([SERVER], stdin=connection, stdout=connection)
                )

    def close(self):
        """Unmount all; each server then ends."""
        for folder in self.folders:
            subprocess.run(["umount", "-l", folder], check=True)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for server in self._servers:
            server.wait(timeout=60)
