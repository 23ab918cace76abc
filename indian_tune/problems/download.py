"""Downloads one file: resumed where possible, checked, then renamed."""

from __future__ import annotations

import errno
import http.client
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING

from indian_tune._version import __version__
from indian_tune.errors import DataError
from indian_tune.problems.verification import checksum_fault

if TYPE_CHECKING:
    from pathlib import Path

SCHEMES = ("http", "https", "file")
TIMEOUT = 60.0
# Bytes that are read at once.
CHUNK = 1 << 20

# Hears of a file's name, its bytes so far, and its size (None if the server does not say).
Progress = Callable[[str, int, int | None], None]


def download(
    url: str, target: Path, *, md5: str, most_bytes: int, progress: Progress | None = None
) -> None:
    """Download a file.

    The bytes go to ``target`` with ``.part`` appended, which takes the final name only after its
    checksum was found right. A ``.part`` file that is already there is continued if the server
    serves ranges and overwritten if not. A transfer that breaks off is taken up again for as long
    as that brings more bytes.

    Args:
        url: http, https or file address.
        target: final path; its folder must exist.
        md5: checksum that the file must have, hexadecimal.
        most_bytes: what the file cannot exceed. More is not written, whatever the server sends.
        progress: called after every piece.

    Raises:
        DataError: the address cannot be reached, the transfer breaks off, the file is larger than
            ``most_bytes``, or the checksum is wrong.
        OSError: the file cannot be written, for instance because the disk is full.
    """
    part = target.with_name(target.name + ".part")
    if part.exists() and part.stat().st_size > most_bytes:
        part.unlink()
    resumed = part.exists() and part.stat().st_size > 0
    _transfer(url, part, most_bytes, progress)
    fault = checksum_fault(part, md5)
    if fault and resumed:
        # The start may stem from another version of the file.
        part.unlink()
        _transfer(url, part, most_bytes, progress)
        fault = checksum_fault(part, md5)
    if fault:
        part.unlink()
        raise DataError(f"{url} is not the expected file ({fault}), and was discarded")
    part.replace(target)


def _transfer(url: str, part: Path, most_bytes: int, progress: Progress | None) -> None:
    """Bring the whole of ``url`` into ``part``, in as many attempts as bring it forward."""
    furthest = -1
    while True:
        total, reason = _attempt(url, part, most_bytes, progress)
        size = part.stat().st_size
        if reason is None and (total is None or size >= total):
            return
        if size <= furthest:
            expected = "" if total is None else f" of {total:,}"
            raise DataError(
                f"{url} broke off after {size:,}{expected} "
                f"bytes{f' ({reason})' if reason else ''}; run the same command again to continue "
                "from there"
            )
        furthest = size


def _attempt(
    url: str, part: Path, most_bytes: int, progress: Progress | None
) -> tuple[int | None, Exception | None]:
    """Continue ``part`` once; return the size it should get and what broke the transfer off."""
    start = part.stat().st_size if part.exists() else 0
    try:
        response = _open(url, start)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            # Nothing is left to send: the checksum will tell whether that is right.
            return start, None
        raise DataError(f"{url} cannot be downloaded: HTTP {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(f"{url} cannot be reached: {reason}") from error
    with response:
        # Another status brings the whole file again, whatever was asked for.
        done = start if response.status == http.client.PARTIAL_CONTENT else 0
        # A length that is no number, such as "-1", says nothing.
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() and len(length) < 20 else None
        if total is not None and total > most_bytes:
            raise DataError(_too_large(url, f"{total:,} bytes", most_bytes))
        _require_space(part, total - done if total else 0)
        with part.open("ab" if done else "wb") as file:
            while True:
                try:
                    piece = response.read(CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    return total, error
                if not piece:
                    return total, None
                if done + len(piece) > most_bytes:
                    file.close()
                    part.unlink()
                    raise DataError(_too_large(url, "it continues", most_bytes))
                file.write(piece)
                done += len(piece)
                if progress is not None:
                    progress(part.stem, done, total)


def _open(url: str, start: int) -> http.client.HTTPResponse:
    if urllib.parse.urlsplit(url).scheme not in SCHEMES:
        raise DataError(f"{url} cannot be downloaded: use {', '.join(SCHEMES)}")
    headers = {"User-Agent": f"indian-tune/{__version__}"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - checked above
    response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310
    return response


def _too_large(url: str, size: str, most_bytes: int) -> str:
    return f"{url} is not the expected file: {size}, but at most {most_bytes:,} bytes are expected"


def _require_space(part: Path, needed: int) -> None:
    if needed > shutil.disk_usage(part.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(part))
