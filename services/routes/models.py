"""The site's own models over HTTP: which versions there are, where they come from; put one to use, take one back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path
from pydantic import BaseModel, ConfigDict

from mmstream.training.registry import ModelVersion, Registry, State
from mmstream.training.versions import REPLICAS
from services.model_record import MODEL_LOOKS, MODEL_SWAPS, SwapRecord, What, read_swaps
from services.problems import Problem
from services.routes.context import Context

Name = Annotated[str, Path(description="The model's name", examples=["site"], pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Version = Annotated[str, Path(description="The version's name", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
BY_HAND = "Put to use by hand."


class LineageOut(BaseModel):
    """What a version was made from."""

    model_config = ConfigDict(title="Lineage")
    code: str
    parent: str
    from_s: float
    to_s: float
    feeds: tuple[str, ...]
    num_windows: int
    settings: dict[str, Any]
    metrics: dict[str, float]


class VersionOut(BaseModel):
    """One version, as it stands."""

    model_config = ConfigDict(title="ModelVersion")
    name: str
    version: str
    made_s: float
    state: State
    reason: str
    """Why it was promoted or refused, in words."""
    lineage: LineageOut
    files: dict[str, str]
    """Name -> SHA-256."""


class SwapOut(BaseModel):
    """The last change of version, under way or over."""

    model_config = ConfigDict(title="ModelSwap")
    what: What
    state: str
    """``running``, ``done`` or ``failed``."""
    version: str
    """The new one; empty: none."""
    before: str
    sentence: str
    """Why it failed, or what feeds have to do without."""
    began_s: float
    ended_s: float
    seconds: dict[str, float]


class ModelOut(BaseModel):
    """A model, and which version of it is in use."""

    model_config = ConfigDict(title="Model")
    name: str
    version: str
    """In use; empty: none, or the model as it is shipped."""
    since_s: float
    reason: str
    rolled_back: bool
    """It is in use because the one after it was taken back."""
    before: tuple[str, ...]
    """What was in use before, the last one first."""
    encoders: tuple[str, ...]
    """Replica encoders that run it."""
    look: str
    """How well it keeps the budget, while it is watched."""
    swap: SwapOut | None


class ModelDetail(ModelOut):
    versions: list[VersionOut]
    """Newest first."""


class Models(BaseModel):
    models: list[ModelOut]


class PromoteIn(BaseModel):
    model_config = ConfigDict(extra="forbid", title="Promotion")
    version: str
    force: bool = False
    """Also when the gate has refused it."""


class RollBackIn(BaseModel):
    model_config = ConfigDict(extra="forbid", title="Rollback")
    reason: str = ""


def models_router(context: Context, registry: Callable[[], Registry | None]) -> APIRouter:
    """``registry``: opens it; None while nothing has been trained."""
    router = APIRouter(prefix="/models", tags=["models"])

    def known(name: str) -> list[ModelVersion]:
        opened = registry()
        versions = opened.versions(name) if opened is not None else []
        if not versions:
            raise Problem(404, "no_such_model", f"There is no model {name!r}; GET /api/v1/models lists them.")
        return versions

    def found(name: str, version: str) -> ModelVersion:
        for each in known(name):
            if each.version == version:
                return each
        raise Problem(
            404, "no_such_version", f"{name} has no version {version!r}; GET /api/v1/models/{name} lists them."
        )

    def views(names: list[str]) -> list[ModelOut]:
        swaps = read_swaps(context.reader.value(MODEL_SWAPS))
        looks: dict[str, str] = json.loads(context.reader.value(MODEL_LOOKS) or "{}")
        opened = registry()
        return [_view(opened, name, swaps.get(name), looks.get(name, "")) for name in names] if opened else []

    @router.get("", summary="All models that were trained here, with the version in use")
    def list_models() -> Models:
        opened = registry()
        return Models(models=views(opened.names() if opened is not None else []))

    @router.get("/{name}", summary="One model and its versions, newest first")
    def get_model(name: Name) -> ModelDetail:
        versions = [_version(each) for each in known(name)]
        return ModelDetail(**views([name])[0].model_dump(), versions=versions)

    @router.get("/{name}/{version}", summary="One version: where it comes from, what the gate said of it")
    def get_version(name: Name, version: Version) -> VersionOut:
        return _version(found(name, version))

    @router.post("/{name}/promote", status_code=202, summary="Put a version to use; the model's swap tells when it is")
    async def promote(name: Name, asked: Annotated[PromoteIn, Body()]) -> ModelOut:
        version = await asyncio.to_thread(found, name, asked.version)
        if version.state == "current":
            raise Problem(409, "in_use_already", f"{name} {version.version} is in use already.")
        if version.state == "refused" and not asked.force:
            sentence = (
                f"The gate has refused {name} {version.version}: {version.reason} Use force to promote it anyway."
            )
            raise Problem(409, "refused", sentence)
        reason = f"{BY_HAND} The gate had refused it: {version.reason}" if version.state == "refused" else BY_HAND
        await _begin("promote", name, version.version, reason)
        return (await asyncio.to_thread(views, [name]))[0]

    @router.post("/{name}/rollback", status_code=202, summary="Use the version before again, or none")
    async def roll_back(name: Name, asked: Annotated[RollBackIn | None, Body()] = None) -> ModelOut:
        await asyncio.to_thread(known, name)
        if not (await asyncio.to_thread(views, [name]))[0].version:
            raise Problem(409, "nothing_in_use", f"No version of {name} is in use: there is nothing to roll back.")
        reason = (asked.reason if asked is not None else "") or "Rolled back by hand."
        await _begin("roll back", name, "", reason)
        return (await asyncio.to_thread(views, [name]))[0]

    async def _begin(what: What, name: str, version: str, reason: str) -> None:
        try:
            await context.commands.begin_swap(what, name, version, reason)
        except ValueError as error:
            raise Problem(409, "swap_under_way", f"{error}.") from None

    return router


def _view(registry: Registry, name: str, swap: SwapRecord | None, look: str) -> ModelOut:
    in_use = registry.in_use(name)
    return ModelOut(
        name=name,
        version=in_use.version,
        since_s=in_use.since_s,
        reason=in_use.reason,
        rolled_back=in_use.rolled_back,
        before=in_use.before,
        encoders=tuple(REPLICAS.get(name, ())),
        look=look,
        swap=None
        if swap is None
        else SwapOut(
            what=swap.what,
            state=swap.state,
            version=swap.version,
            before=swap.before,
            sentence=swap.sentence,
            began_s=swap.began_s,
            ended_s=swap.ended_s,
            seconds=dict(swap.seconds),
        ),
    )


def _version(version: ModelVersion) -> VersionOut:
    return VersionOut.model_validate(version.to_json())
