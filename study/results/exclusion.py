"""Let a store decide which of several processes may write.

Each class keeps one small value for a study, the entry. A process can replace the entry
only if no other process has replaced the entry since this process read it. The module
`claim` makes claims with such entries. The classes also replace a study's files under
the same condition, because a process can be stopped for hours between its check and its
write.
"""

from __future__ import annotations

import abc
import contextlib
import hashlib
import os
import shutil
import time
import uuid
from pathlib import Path

import attrs

from study.results.files import Files, objects, write_to_disk

ENTRY = ".claim"  # hidden, so that no command takes it for a result


class Exclusion(abc.ABC):
    """How a store lets only one process write.

    The entry and each file have a tag, which changes whenever their content changes. In
    most stores, the entry is an ordinary file, and the tag of a file is a hash of its
    content. There, a new holder of a claim must change the content of each file before
    it uses the file. Otherwise an earlier holder, which was stopped for long, could
    still overwrite the file.

    Every method raises OSError if the storage fails. After an OSError, the caller does
    not know whether the entry or the file was replaced.
    """

    def load(self) -> tuple[bytes, str] | None:
        """Return the entry and its tag, or None if there is no entry."""
        try:
            return self.read(ENTRY)
        except FileNotFoundError:
            return None

    def swap(self, content: bytes, tag: str | None) -> str | None:
        """Replace the entry if it still has this tag. With None, create the entry.

        Return the new tag. If another process has written the entry, return None.
        """
        return self.replace(ENTRY, content, tag)

    def begin(self, number: int) -> None:
        """Prepare to write files in the claim with this number, before `swap`."""
        return

    def revoke(self, number: int) -> None:
        """Let no claim with a lower number write any more. Call this after `swap`."""
        return  # tags exclude earlier holders

    def end(self) -> None:
        """Delete what `begin` has created."""
        return

    @abc.abstractmethod
    def read(self, path: str) -> tuple[bytes, str]:
        """Return the content and the tag of a file, or raise FileNotFoundError."""

    @abc.abstractmethod
    def replace(self, path: str, content: bytes, tag: str | None) -> str | None:
        """Write a file if it still has this tag. With None, create the file.

        Return the new tag. If this process may not write any more, return None.
        """


def exclusion_of(files: Files) -> Exclusion:
    """Return the exclusion of the store of these files."""
    if files.local:
        return FolderExclusion(files.folder)
    fs, root = files.root()
    if fs.type_name == "s3":
        return BucketExclusion(files.results, root)
    return OtherExclusion(files)


@attrs.frozen
class BucketExclusion(Exclusion):
    """S3: the store checks a condition and writes in one step."""

    results: str
    root: str  # BUCKET/PREFIX/STUDY

    def read(self, path: str) -> tuple[bytes, str]:
        """See `Exclusion`."""
        return objects(self.results).get(f"{self.root}/{path}")

    def replace(self, path: str, content: bytes, tag: str | None) -> str | None:
        """See `Exclusion`."""
        return objects(self.results).replace(f"{self.root}/{path}", content, tag)


@attrs.define
class FolderExclusion(Exclusion):
    """A folder without locks that all machines see, such as an sshfs mount.

    The entry is the file `.claim.N` with the highest number N. A process replaces the
    entry by creating the file with the next number. The file system lets only one
    process create this file, and the highest number never falls.

    A holder writes a file in a folder of its own and then moves the file to its path.
    A new holder first renames the folders of all earlier holders, so that earlier
    holders can no longer move a file.
    """

    folder: Path
    _own: Path | None = attrs.field(default=None, init=False)

    def load(self) -> tuple[bytes, str] | None:
        """See `Exclusion`."""
        for _ in range(600):
            if not (numbers := self._numbers()):
                return None
            # another process has possibly just deleted this file: then look again
            with contextlib.suppress(FileNotFoundError):
                return self._path(numbers[-1]).read_bytes(), str(numbers[-1])
            # sshfs keeps its list of a folder's files for 20 s (dcache_timeout), unless
            # this machine changes the folder
            with contextlib.suppress(OSError):
                os.utime(self.folder)
            time.sleep(0.05)
        raise OSError(f"{self._path(numbers[-1])} is listed, but does not exist")

    def swap(self, content: bytes, tag: str | None) -> str | None:
        """See `Exclusion`."""
        number = int(tag or 0) + 1
        partial = self.folder / f"{ENTRY}-{uuid.uuid4().hex}"
        write_to_disk(partial, content)
        try:
            os.link(partial, self._path(number))
        except FileExistsError:
            return None
        except OSError:  # the file system has no links
            try:
                with open(self._path(number), "xb") as sink:
                    sink.write(content)
            except FileExistsError:
                return None
        finally:
            partial.unlink(missing_ok=True)
        numbers = self._numbers()
        if numbers[-1:] != [number]:  # `tag` was too old: a newer entry exists
            self._path(number).unlink(missing_ok=True)
            return None
        for old in numbers[:-1]:
            self._path(old).unlink(missing_ok=True)
        return str(number)

    def _path(self, number: int) -> Path:
        return self.folder / f"{ENTRY}.{number}"

    def _numbers(self) -> list[int]:
        suffixes = (p.name.removeprefix(f"{ENTRY}.") for p in self._paths("."))
        return sorted(int(suffix) for suffix in suffixes if suffix.isdecimal())

    def _paths(self, next_text: str) -> list[Path]:
        return list(self.folder.glob(f"{ENTRY}{next_text}*"))

    def begin(self, number: int) -> None:
        """Create the folder in which this process writes files before renaming them."""
        self._own = self.folder / f"{ENTRY}-{number}-{uuid.uuid4().hex}"
        self._own.mkdir(parents=True)

    def revoke(self, number: int) -> None:
        """Rename the folders of the claims with lower numbers, then delete them."""
        for path in self._paths("-"):
            words = path.name.split("-")
            if len(words) == 3 and words[1].isdecimal() and int(words[1]) < number:
                # one step: from now on, no file in this folder can be renamed
                revoked = self.folder / f"{ENTRY}-revoked-{words[2]}"
                with contextlib.suppress(FileNotFoundError):
                    path.rename(revoked)
        for path in self._paths("-revoked-"):
            shutil.rmtree(path, ignore_errors=True)

    def end(self) -> None:
        """Delete the folder of this process."""
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)

    def read(self, path: str) -> tuple[bytes, str]:
        """Return the content of a file, and "" as its tag, which `replace` ignores.

        sshfs keeps the size of a file for 20 s. It cuts off the content of a file that
        another machine has replaced by a longer file in this time. So the file is read
        under a new name, whose size sshfs does not know yet.
        """
        new_name = self.folder / f"{ENTRY}-{uuid.uuid4().hex}"
        try:
            os.link(self.folder / path, new_name)
        except FileNotFoundError:
            raise
        except OSError:  # the file system has no links
            return (self.folder / path).read_bytes(), ""
        try:
            return new_name.read_bytes(), ""
        finally:
            new_name.unlink(missing_ok=True)

    def replace(self, path: str, content: bytes, tag: str | None) -> str | None:
        """Write a file if no other process has claimed the study since `begin`."""
        assert self._own is not None
        partial = self._own / uuid.uuid4().hex
        try:
            write_to_disk(partial, content)
            os.replace(partial, self.folder / path)
        except FileNotFoundError:
            try:
                # fails if the folder was renamed, even if sshfs still shows it
                os.utime(self._own)
            except FileNotFoundError:
                return None
            raise
        return ""


@attrs.frozen
class OtherExclusion(Exclusion):
    """A store whose conditional writes pyarrow does not offer, such as gs://.

    Between the check and the write, another process can write. So a second sweep is
    excluded while a sweep runs, but not if both start at the same moment.
    """

    files: Files

    def read(self, path: str) -> tuple[bytes, str]:
        """See `Exclusion`."""
        content = self.files.read(path)
        return content, hashlib.sha256(content).hexdigest()

    def replace(self, path: str, content: bytes, tag: str | None) -> str | None:
        """See `Exclusion`."""
        current = None
        with contextlib.suppress(FileNotFoundError):
            current = self.read(path)[1]
        if current != tag:
            return None
        self.files.put(path, content)
        return hashlib.sha256(content).hexdigest()


SHARED_LOCKS = {
    *("ext2", "ext3", "ext4", "xfs", "btrfs", "bcachefs", "zfs", "f2fs", "jfs"),
    *("tmpfs", "ramfs", "overlay", "fuseblk", "vfat", "exfat", "ntfs3"),
    *("nfs", "nfs4", "cifs", "smb3", "ceph", "gpfs", "lustre"),
}
"""The file systems on which all processes that use a folder see its locks (flock).

On other file systems, a lock can be invisible to other machines. FUSE keeps a lock on
this machine unless its server has locks of its own (fuse(4), FUSE_FLOCK_LOCKS).
"""

LOCAL_LOCK_OPTIONS = {
    *("nolock", "local_lock=all", "local_lock=flock", "localflock", "nobrl"),
}
"""Mount options that keep locks on this machine: nfs(5), mount.cifs(8), Lustre."""


def locks_are_shared(folder: Path, mounts: str = "/proc/self/mountinfo") -> bool:
    """Return whether a lock in a folder excludes processes of other machines too.

    `mounts` is the file with the mounts, in the format of proc_pid_mountinfo(5). If
    there is no such file, as on macOS, return True.
    """
    try:
        lines = Path(mounts).read_text().splitlines()
    except OSError:
        return True
    path, mount_of_path, rest_of_line = folder.resolve(), "", ""
    for line in lines:
        mount, _, rest = line.partition(" - ")
        point = mount.split()[4].encode().decode("unicode_escape")
        # a later mount on the same folder hides an earlier one
        if path.is_relative_to(point) and len(point) >= len(mount_of_path):
            mount_of_path, rest_of_line = point, rest
    kind, *words = rest_of_line.split() or [""]
    options = words[-1].split(",") if words else []
    return kind in SHARED_LOCKS and LOCAL_LOCK_OPTIONS.isdisjoint(options)
