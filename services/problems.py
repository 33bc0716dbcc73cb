"""Every error that leaves the API: ``application/problem+json`` (RFC 9457), one plain sentence each."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from mmstream.errors import ConfigError, StoreError, redact

logger = logging.getLogger(__name__)

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "code"],
    "properties": {
        "type": {"type": "string", "example": "urn:mmstream:problem:no_such_alert"},
        "title": {"type": "string", "example": "Not Found"},
        "status": {"type": "integer", "example": 404},
        "detail": {"type": "string", "example": "There is no alert 'gate-3:1700000000250'."},
        "instance": {"type": "string", "example": "/api/v1/alerts/gate-3:1700000000250"},
        "code": {"type": "string", "example": "no_such_alert"},
    },
}
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "What went wrong, as one sentence (RFC 9457)",
        "content": {"application/problem+json": {"schema": PROBLEM_SCHEMA}},
    }
}


class Problem(HTTPException):
    """Raise it anywhere in a route. ``code`` is for programs, ``sentence`` for people."""

    def __init__(self, status: int, code: str, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, redact(sentence), dict(headers) if headers else None)
        self.code = code


def problem_response(
    status: int, code: str, sentence: str, instance: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    body = {
        "type": f"urn:mmstream:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": redact(sentence),
        "instance": instance,
        "code": code,
    }
    return JSONResponse(body, status, dict(headers) if headers else None, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Answer every kind of failure of ``app`` as a problem."""
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(ConfigError, _on_config)
    app.add_exception_handler(StoreError, _on_store)
    app.add_exception_handler(Exception, _on_bug)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error, Problem):
        return _answer(request, error.status_code, error.code, error.detail, error.headers)
    sentences = {
        404: ("no_such_page", f"There is nothing at {request.url.path}; /openapi.json lists what there is."),
        405: ("method_not_allowed", f"{request.method} does not work on {request.url.path}; see /openapi.json."),
    }
    code, sentence = sentences.get(error.status_code, ("http_error", str(error.detail)))
    return _answer(request, error.status_code, code, sentence, error.headers)


async def _on_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return _answer(request, 422, "wrong_request", _sentences(error.errors()))


async def _on_config(request: Request, error: Exception) -> JSONResponse:
    return _answer(request, 422, "wrong_setting", str(error))


async def _on_store(request: Request, error: Exception) -> JSONResponse:
    logger.warning("the store failed on %s: %s", request.url.path, error)
    return _answer(request, 503, "store_unavailable", str(error), {"Retry-After": "2"})


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    # Starlette raises the error again after this answer, so the server logs its traceback.
    sentence = f"The server failed on this request ({type(error).__name__}); its log has the details."
    return _answer(request, 500, "internal_error", sentence)


def _answer(
    request: Request, status: int, code: str, sentence: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    return problem_response(status, code, sentence, request.url.path, headers)


def _sentences(mistakes: Sequence[Mapping[str, Any]]) -> str:
    """Pydantic's list of mistakes as sentences: where, what, and the value when it is no secret."""
    sentences = []
    for mistake in mistakes:
        if mistake["type"] == "json_invalid":
            sentences.append(f"The body is not JSON: {mistake.get('ctx', {}).get('error', mistake['msg'])}")
            continue
        where = ".".join(str(part) for part in mistake["loc"][1:]) or str(mistake["loc"][0])
        if mistake["type"] == "missing":
            sentences.append(f"{where} is missing")
            continue
        value = mistake.get("input")
        shown = f", got {value!r}" if isinstance(value, str | int | float | bool) and len(str(value)) < 80 else ""
        message = mistake["msg"].removeprefix("Value error, ")
        sentences.append(f"{where}: {message[:1].lower()}{message[1:]}{shown}")
    return "; ".join(sentences) + "."
