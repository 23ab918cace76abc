"""File system types: SQLite's locks do not work on network file systems."""

from __future__ import annotations

from pathlib import Path

NETWORK_FILE_SYSTEMS = frozenset(
    {
        *("9p", "afpfs", "afs", "beegfs", "ceph", "cifs", "davfs", "fuse.ceph", "fuse.davfs2"),
        *("fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs", "fuse.rclone", "fuse.s3fs"),
        *("fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2"),
        *("orangefs", "panfs", "smb2", "smb3", "smbfs", "webdav", "wekafs"),
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
    # Not needed where the database is a server.
    import psutil

    try:
        mounts = psutil.disk_partitions(all=True)
    except OSError:
        return None
    path = file.resolve()
    # A later mount hides an earlier one at the same place.
    kinds = {Path(mount.mountpoint): mount.fstype for mount in mounts}
    for folder in (path, *path.parents):
        if folder in kinds:
            return kinds[folder], folder
    return None
