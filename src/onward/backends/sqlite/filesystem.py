"""Where a file is: whether it can be used there, and whether it is still the same."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from onward.backends.sqlite.errors import Refused
from onward.fault import Misconfigured, Unavailable

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = {
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "davfs",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "smb2",
    "smb3",
    "smbfs",
    "vboxsf",
    "vmhgfs",
}
"""Network file systems, whose locks and shared memory SQLite cannot rely on."""

_FUSE = ("ceph", "gcsfuse", "glusterfs", "goofys", "rclone", "s3fs", "sshfs", "vmhgfs-fuse")


def file_system(path: Path, mounts: str) -> str:
    r"""The type of the file system that has a path.

    Args:
        path: An absolute path without links.
        mounts: What Linux says in /proc/self/mountinfo.

    Example:
        >>> mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n40 22 0:40 / /mnt rw - nfs4 host:/ rw"
        >>> file_system(Path("/mnt/onward.db"), mounts)
        'nfs4'
    """
    found, length = "", -1
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        words = fields.split()
        if len(words) < 5 or not rest:
            continue
        point = words[4].encode().decode("unicode_escape")  # a space is \\040
        # A later mount hides an earlier one at the same place.
        if len(point) >= length and path.is_relative_to(point):
            found, length = rest.split()[0], len(point)
    return found


def refuse_network(path: Path) -> None:
    """Raises `Refused` for a file on a network file system, where that can be known."""
    with contextlib.suppress(OSError):
        kind = file_system(path.resolve(), _MOUNTS.read_text())
        name = kind.removeprefix("fuse.")
        if kind in _NETWORK or (kind != name and name in _FUSE):
            raise Refused(
                Misconfigured(
                    "sqlite",
                    f"{path} is on a network file system ({kind}), where SQLite loses data: use a "
                    "disk of this machine, or an engine with a server",
                )
            )


def create(path: Path) -> None:
    """Creates an empty file for its owner alone, unless there is one; raises `Refused`."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        if path.is_dir():
            raise Refused(
                Misconfigured("sqlite", f"{path} is a folder: give the path of a file in it")
            ) from None
    except FileNotFoundError:
        raise Refused(
            Unavailable("", f"{path}: there is no folder {path.parent}", "Make the folder first.")
        ) from None


def identity(path: Path) -> tuple[int, int]:
    """The identity of a file, whatever its path; raises `Refused` if there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        raise Refused(gone(path)) from None
    return found.st_dev, found.st_ino


def gone(path: Path) -> Unavailable:
    """The fault of a file that was deleted or replaced while it was in use."""
    return Unavailable(
        "",
        f"{path}: the file was deleted or replaced while it was in use, and what was in it is "
        "gone with it",
        "Put it back while all programs that use it are stopped, or submit again.",
    )
