"""From ``site.yaml`` to the store and the media store that it names."""

from __future__ import annotations

from typing import cast

from mmstream.config import SiteConfig, resolve
from mmstream.stages import load
from mmstream.storage import STORES
from mmstream.storage.base import MediaStore, Store
from mmstream.storage.media import FolderMediaStore


def open_store(site: SiteConfig, *, write: bool) -> Store:
    """The store of ``site``. With ``write=False`` every changing call raises StoreError.

    Raises:
        ConfigError: ``store.url`` refers to an environment variable that is not set, or to a store that is
            not installed.
        StoreError: it cannot be opened; the sentence says why and what to do.
    """
    kind = resolve(site.store.url).partition(":")[0]
    store_class = load(STORES, {"rediss": "redis"}.get(kind, kind))
    return cast(Store, store_class.from_site(site, write=write))


def open_media(site: SiteConfig) -> MediaStore:
    """The media store of ``site``: the folder ``media`` in ``site.data_dir``."""
    return FolderMediaStore.from_site(site)
