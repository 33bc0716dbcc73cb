"""Rules over HTTP: list with their state on every feed, set, remove."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Response
from pydantic import BaseModel, ConfigDict, ValidationError

from mmstream.config import RuleConfig, SiteConfig, explain
from mmstream.rules import book
from services.problems import Problem
from services.routes.context import Context

RuleName = Annotated[str, Path(description="The rule's name", examples=["fire"])]


class RuleOnFeed(BaseModel):
    """How far a rule has come on one feed."""

    model_config = ConfigDict(extra="ignore")
    state: str
    """``learning``, ``provisional`` or ``calibrated``; ``listening`` for a rule of phrases only."""
    threshold: float | None
    """-log10 of how rare a picture must be, among those of this camera, in how much it looks like the text."""
    alerts_today: int
    alerts_suppressed: int
    """Beyond its budget: kept, never pushed."""
    alerts_denied: int
    """The model of ``understanding.captions`` said no: kept, never pushed."""
    open_alert: str | None
    trouble: str
    """What keeps it from looking at pictures, as a sentence; empty when nothing does."""


class RuleOut(BaseModel):
    model_config = ConfigDict(title="Rule")
    name: str
    settings: RuleConfig
    feeds: dict[str, RuleOnFeed]
    """Feed -> how far it has come there; feeds that have not reported since the rule was set are missing."""


class Rules(BaseModel):
    rules: list[RuleOut]


def rules_router(context: Context) -> APIRouter:
    router = APIRouter(prefix="/rules", tags=["rules"])

    @router.get("", summary="All rules, with their state on every feed")
    def list_rules() -> Rules:
        statuses = context.reader.statuses()
        return Rules(rules=[_view(rule, statuses) for rule in _book(context)])

    schema = RuleConfig.model_json_schema(ref_template="#/components/schemas/{model}")
    example = {"looks_like": "smoke or fire", "alerts_per_day": 1, "feeds": ["gate-3"]}
    body = {"requestBody": {"content": {"application/json": {"schema": schema, "example": example}}}}

    @router.put("/{name}", summary="Set a rule; in effect on every feed within five seconds", openapi_extra=body)
    async def put_rule(name: RuleName, settings: Annotated[dict[str, Any], Body()], response: Response) -> RuleOut:
        rule = check_rule(name, settings)
        rules = await asyncio.to_thread(_book, context)
        is_new = all(other.name != name for other in rules)
        if is_new and len(rules) >= book.MAX_RULES:
            raise Problem(
                409, "too_many_rules", f"There are {len(rules)} rules already; DELETE one that is not needed."
            )
        await context.commands.put_rule(rule)
        response.status_code = 201 if is_new else 200
        return _view(rule, await asyncio.to_thread(context.reader.statuses))

    @router.delete("/{name}", status_code=204, summary="Remove a rule; its alerts stay")
    async def remove_rule(name: RuleName) -> Response:
        if not await context.commands.remove_rule(name):
            raise Problem(404, "no_such_rule", f"There is no rule {name!r}; GET /api/v1/rules lists them.")
        return Response(status_code=204)

    return router


def check_rule(name: str, settings: Mapping[str, Any]) -> RuleConfig:
    """Raises Problem 422 with one sentence per mistake."""
    if settings.get("name", name) != name:
        raise Problem(422, "wrong_setting", "A rule keeps its name; remove it and set another one.")
    try:
        return SiteConfig.model_validate({"rules": [{**settings, "name": name}]}).rules[0]
    except ValidationError as error:
        sentences = explain(error, "rule").replace("rules.0.", "")
        raise Problem(422, "wrong_setting", f"{sentences}.") from None


def _book(context: Context) -> book.Rules:
    return book.read(context.reader.value(book.RULES))


def _view(rule: RuleConfig, statuses: Mapping[str, Mapping[str, Any]]) -> RuleOut:
    on_feeds = {
        feed_id: RuleOnFeed.model_validate(found)
        for feed_id, status in statuses.items()
        if (found := status.get("analysis", {}).get("rules", {}).get(rule.name)) is not None
    }
    return RuleOut(name=rule.name, settings=rule, feeds=on_feeds)
