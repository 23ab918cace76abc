"""What a file lies on, since SQLite's locks do not hold on network file systems."""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")

NETWORK_FILE_SYSTEMS = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "davfs", "fuse.ceph", "fuse.davfs2"),
        *("fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs", "fuse.rclone", "fuse.s3fs"),
        *("fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2"),
        *("orangefs", "panfs", "smb2", "smb3", "smbfs", "wekafs"),
    }
)


def network_file_system(file: Path) -> tuple[str, Path] | None:
    """Return kind and mount point of the network file system that a file lies on.

    ``None`` on a local one, and where the system does not say.
    """
    found = file_system(file)
    return found if found is not None and found[0] in NETWORK_FILE_SYSTEMS else None


def file_system(file: Path) -> tuple[str, Path] | None:
    """Return kind and mount point of the file system that a file lies on, or would.

    ``None`` where the system does not say.
    """
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    path = file.resolve()
    # A later line hides an earlier one of the same mount point.
    kinds = {Path(_unescaped(line.split()[1])): line.split()[2] for line in lines if line}
    for folder in (path, *path.parents):
        if folder in kinds:
            return kinds[folder], folder
    return None


def _unescaped(text: str) -> str:
    r"""Undo the kernel's ``\040`` for a blank and the like."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), text)
