"""Where feeds, alerts and clips are kept. One interface each (`base.py`), one conformance suite."""

STORES: dict[str, str] = {
    "sqlite": "mmstream.storage.sqlite:SqliteStore",
    "redis": "mmstream.storage.redis:RedisStore",
}
