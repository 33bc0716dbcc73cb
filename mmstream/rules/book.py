"""The site's rules as the store keeps them: one JSON value, changed by its one writer, read by everybody."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Protocol

from pydantic import TypeAdapter

from mmstream.config import RuleConfig

RULES = "rules"
"""Key of the store's value."""
YAML_RULES = "rules_of_site_yaml"
"""Names of those that site.yaml has brought."""

MAX_RULES = 100
"""Every rule is judged on every window of its feeds."""

Rules = tuple[RuleConfig, ...]
_BOOK: TypeAdapter[Rules] = TypeAdapter(Rules)


def read(value: str | None) -> Rules:
    """In order of their names."""
    return _BOOK.validate_json(value) if value else ()


def write(rules: Sequence[RuleConfig]) -> str:
    """
    >>> rule = RuleConfig(name="fire", looks_like="smoke or fire")
    >>> read(write([rule])) == (rule,)
    True
    """
    return _BOOK.dump_json(tuple(sorted(rules, key=lambda rule: rule.name))).decode()


class Values(Protocol):
    """The part of a `storage.base.Store` that is needed; every change is a read and a write, so: its one writer's."""

    def value(self, key: str) -> str | None: ...

    def put_value(self, key: str, value: str) -> None: ...


def put(store: Values, rule: RuleConfig) -> None:
    """Set the rule of that name."""
    others = [other for other in read(store.value(RULES)) if other.name != rule.name]
    store.put_value(RULES, write([*others, rule]))


def remove(store: Values, name: str) -> bool:
    """False when there was none."""
    rules = read(store.value(RULES))
    kept = [rule for rule in rules if rule.name != name]
    store.put_value(RULES, write(kept))
    return len(kept) < len(rules)


def seed(store: Values, of_yaml: Sequence[RuleConfig]) -> None:
    """Rules of site.yaml go into the store; those that have left the file leave the store too.

    Rules set over the API are nobody's but the operator's and stay.
    """
    names = {rule.name for rule in of_yaml}
    for name in set(json.loads(store.value(YAML_RULES) or "[]")) - names:
        remove(store, name)
    for rule in of_yaml:
        put(store, rule)
    store.put_value(YAML_RULES, json.dumps(sorted(names)))
