"""From site.yaml to the store it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmstream.config import SiteConfig
from mmstream.errors import ConfigError
from mmstream.storage.open import open_media, open_store
from mmstream.storage.redis import RedisStore
from mmstream.storage.sqlite import SqliteStore


def make_site(data_dir: Path, url: str = "sqlite") -> SiteConfig:
    return SiteConfig.model_validate({"site": {"name": "opened", "data_dir": data_dir}, "store": {"url": url}})


def test_the_default_is_sqlite_and_a_folder_in_data_dir(tmp_path: Path) -> None:
    site = make_site(tmp_path / "data")
    store = open_store(site, write=True)
    assert isinstance(store, SqliteStore)
    open_media(site).put("a", b"x")
    store.close()
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"ledger.db", "ledger.db.lock", "media"}


@pytest.mark.redis
def test_a_redis_url_may_come_from_the_environment(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE_URL", redis_url)
    store = open_store(make_site(tmp_path, "${STORE_URL}"), write=True)
    assert isinstance(store, RedisStore)
    store.put_value("k", "v")
    store.close()
    again = open_store(make_site(tmp_path, redis_url), write=False)
    assert again.value("k") == "v"
    again.close()


def test_an_environment_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="NO_SUCH_URL"):
        open_store(make_site(tmp_path, "${NO_SUCH_URL}"), write=True)


def test_a_store_that_does_not_exist_names_those_that_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_URL", "mysql://nowhere")
    with pytest.raises(ConfigError, match="redis, sqlite"):
        open_store(make_site(tmp_path, "${STORE_URL}"), write=True)
