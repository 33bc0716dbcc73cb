"""Opening the archive: a LanceDB database in a folder or in S3, and its failures as plain sentences.

LanceDB is imported on first use: it takes 110 MB and two seconds that a process without an archive need not pay.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from mmstream.config import SiteConfig, resolve
from mmstream.errors import StoreError, redact

# Lance warns at every query about an option that its Python interface does not offer.
os.environ.setdefault("LANCE_LOG", "error")

_PLACE_IN_SOURCE = re.compile(r",?\s*location: Location.*|,?\s*/\S+\.rs:\d+(:\d+)?")

FRESH_S = 2.0
"""A reader sees what was written so long ago."""


def archive_url(site: SiteConfig) -> str:
    """Where the moments of ``site`` are kept: ``archive.url``, or the folder ``archive`` in data_dir.

    Raises:
        ConfigError: the URL refers to an environment variable that is not set.
    """
    return resolve(site.archive.url) or str(site.site.data_dir / "archive")


def connect(url: str, *, index_cache_mb: int, write: bool) -> Any:
    """The LanceDB connection. Its caches are bounded: LanceDB's own default is gigabytes.

    Raises:
        StoreError: the place cannot be reached or written.
    """
    import lancedb

    with plainly(url, "opened"):
        if "://" not in url:
            _check_folder(Path(url), write=write)
        session = lancedb.Session(index_cache_size_bytes=index_cache_mb << 20, metadata_cache_size_bytes=32 << 20)
        fresh = timedelta(0) if write else timedelta(seconds=FRESH_S)
        # a wrong address must not hold the caller for minutes
        options = {} if "://" not in url else {"connect_timeout": "5s", "client_max_retries": "2"}
        return lancedb.connect(url, session=session, read_consistency_interval=fresh, storage_options=options)


@contextlib.contextmanager
def plainly(url: str, done: str) -> Iterator[None]:
    """LanceDB's errors (it raises plain built-in ones) as a `StoreError` with the cause's first line."""
    try:
        yield
    except (RuntimeError, ValueError, OSError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = _PLACE_IN_SOURCE.sub("", redact(lines[0]))[:240]
        cure = _cure(str(error).lower(), url)
        raise StoreError(f"the archive at {url} cannot be {done}: {reason}; {cure}") from error


def _cure(text: str, url: str) -> str:
    if "no space left" in text or "errno 28" in text or "os error 28" in text:
        return "free some disk, or lower archive.max_gb"
    if "credential" in text or "imds" in text or "metadata token" in text or "403" in text:
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where mmstream runs"
    if "permission denied" in text or "read-only" in text:
        return "check its rights"
    if "://" in url:
        return "check archive.url, the bucket and the network"
    return "move the folder away, and a new one is begun, or give archive.url another place"


def _check_folder(folder: Path, *, write: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"the archive at {folder} is a file; give archive.url a folder")
    if write:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return
    if not folder.is_dir():
        raise StoreError(f"the archive at {folder} is starting: nothing has been written yet; ask again in a minute")
