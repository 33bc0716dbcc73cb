"""What becomes of rules at a start, and between two."""

from __future__ import annotations

from mmstream.config import RuleConfig
from mmstream.rules import book

FIRE = RuleConfig(name="fire", looks_like="smoke or fire")
FIGHT = RuleConfig(name="fight", looks_like="有人打架", says=("住手",))


class Values(dict[str, str]):
    def value(self, key: str) -> str | None:
        return self.get(key)

    def put_value(self, key: str, value: str) -> None:
        self[key] = value


def names(store: Values) -> list[str]:
    return [rule.name for rule in book.read(store.value(book.RULES))]


def test_what_was_set_is_read_again_in_every_script() -> None:
    store = Values()
    book.put(store, FIRE)
    book.put(store, FIGHT)
    assert book.read(store.value(book.RULES)) == (FIGHT, FIRE)
    assert book.remove(store, "fire")
    assert not book.remove(store, "fire")
    assert names(store) == ["fight"]


def test_rules_of_the_file_come_and_go_with_it_and_those_of_the_api_stay() -> None:
    store = Values()
    book.seed(store, [FIRE])
    book.put(store, FIGHT)
    book.seed(store, [FIRE.model_copy(update={"looks_like": "flames"})])
    assert [rule.looks_like for rule in book.read(store.value(book.RULES))] == ["有人打架", "flames"]
    book.seed(store, [])
    assert names(store) == ["fight"]
