"""The folder of clips: whole files only, and no way out of it."""

from __future__ import annotations

import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.errors import StoreError
from mmstream.storage.media import FolderMediaStore

OUTSIDE = [
    "",
    "/",
    "..",
    ".",
    "../secret",
    "a/../../secret",
    "a/..",
    "a/./b",
    "/etc/passwd",
    "a//b",
    "a/",
    "a\\..\\b",
    "a\0b",
    "a b",
    "~x",
    "gate:1",
    "ü",
    "a\n",
]


@pytest.fixture
def media(tmp_path: Path) -> FolderMediaStore:
    return FolderMediaStore(tmp_path / "media")


def test_bytes_come_back_until_they_are_deleted(media: FolderMediaStore) -> None:
    media.put("clips/gate-1/17.mp4", b"one")
    media.put("clips/gate-1/17.mp4", b"two")
    assert media.get("clips/gate-1/17.mp4") == b"two"
    path = media.local_path("clips/gate-1/17.mp4")
    assert path is not None
    assert Path(path).read_bytes() == b"two"
    media.delete("clips/gate-1/17.mp4")
    media.delete("clips/gate-1/17.mp4")
    assert (media.get("clips/gate-1/17.mp4"), media.local_path("clips/gate-1/17.mp4")) == (None, None)


@pytest.mark.parametrize("key", OUTSIDE)
def test_no_key_leads_out_of_the_root(media: FolderMediaStore, tmp_path: Path, key: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    for call in (media.get, media.local_path, media.delete, lambda key: media.put(key, b"")):
        with pytest.raises(StoreError, match="cannot be a key"):
            call(key)
    assert (tmp_path / "secret").read_bytes() == b"secret"


@given(st.text(alphabet="ab./\\~ \0", max_size=8))
def test_whatever_key_is_accepted_stays_below_the_root(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    root = tmp_path_factory.getbasetemp() / "property"
    media = FolderMediaStore(root)
    try:
        path = media._path(key)
    except StoreError:
        return
    assert os.path.normpath(path) == str(path)
    assert path.is_relative_to(root)
    assert path != root


def test_keys_are_those_that_start_with_the_prefix_in_order(media: FolderMediaStore) -> None:
    for key in ("clips/b/2", "clips/a/1", "clips/a/10", "clips-old/1", "state"):
        media.put(key, b"x")
    assert media.keys("") == ["clips-old/1", "clips/a/1", "clips/a/10", "clips/b/2", "state"]
    assert media.keys("clips") == ["clips-old/1", "clips/a/1", "clips/a/10", "clips/b/2"]
    assert media.keys("clips/") == ["clips/a/1", "clips/a/10", "clips/b/2"]
    assert media.keys("clips/a/1") == ["clips/a/1", "clips/a/10"]
    assert media.keys("nothing/here") == []
    for prefix in ("../", "/", "clips/../", "cl*"):
        with pytest.raises(StoreError):
            media.keys(prefix)


def test_an_unfinished_file_of_a_killed_writer_is_never_a_key(media: FolderMediaStore, tmp_path: Path) -> None:
    media.put("a/1", b"x")
    (tmp_path / "media" / "a" / "~0123").write_bytes(b"half")
    assert media.keys("") == ["a/1"]


def test_a_key_that_is_a_folder_is_no_file(media: FolderMediaStore) -> None:
    media.put("a/1", b"x")
    assert (media.get("a"), media.local_path("a"), media.get("a/1/2")) == (None, None, None)
    for key in ("a", "a/1/2"):
        with pytest.raises(StoreError, match="cannot write"):
            media.put(key, b"y")
    assert media.keys("") == ["a/1"]
    assert [path.name for path in Path(str(media.local_path("a/1"))).parent.iterdir()] == ["1"]


def test_only_the_owner_may_look_into_the_folder(tmp_path: Path) -> None:
    FolderMediaStore(tmp_path / "media")
    assert stat.S_IMODE((tmp_path / "media").stat().st_mode) == 0o700


def _write_for_ever(root: str) -> None:
    media = FolderMediaStore(root)
    while True:
        for letter in (b"a", b"b"):
            media.put("state/feed", letter * 200_000)


def test_a_reader_never_sees_a_part_even_when_the_writer_is_killed(media: FolderMediaStore, tmp_path: Path) -> None:
    media.put("state/feed", b"a" * 200_000)
    writer = multiprocessing.get_context("spawn").Process(target=_write_for_ever, args=(str(tmp_path / "media"),))
    writer.start()
    seen = set()
    while seen != {b"a", b"b"}:
        data = media.get("state/feed")
        assert data is not None
        assert len(data) == 200_000
        assert len(set(data)) == 1
        seen.add(data[:1])
    writer.kill()
    writer.join()
    writer.close()
    data = media.get("state/feed")
    assert data in (b"a" * 200_000, b"b" * 200_000)
    assert media.keys("") == ["state/feed"]
