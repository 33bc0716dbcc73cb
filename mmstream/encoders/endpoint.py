"""A model behind any OpenAI-compatible endpoint (vLLM, Ray Serve LLM, llama.cpp, a provider) as a describer.

Pictures leave this machine when the endpoint is elsewhere: which one is the operator's choice in ``site.yaml``.
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
from PIL import Image

from mmstream.config import references, resolve
from mmstream.encoders.prompts import clean_answer
from mmstream.errors import ConfigError, StageError
from mmstream.stages import Question
from mmstream.types import UInt8

NUM_TRIES = 2
LONGEST_SIDE_PX = 768
MAX_PICTURES = 8
MAX_ANSWER_BYTES = 256 * 1024
MAX_CONNECT_S = 5.0
PAUSE_S = 0.5
MAX_PAUSE_S = 5.0
"""Who is told to wait longer gives up: the moment would be over."""
_TRY_AGAIN = (408, 429, 500, 502, 503, 504)


class EndpointDescriber:
    """``POST {base_url}/v1/chat/completions`` with the pictures as JPEG in the request, one question after the other.

    ``api_key`` is written as ``${NAME}`` and read from the environment when a question is asked; it is in no error and
    no repr. A busy or unreachable endpoint is asked once more, after the ``Retry-After`` it names if that is short;
    a question and its repetition have ``timeout_s`` together.

    Raises:
        ConfigError: not an http(s) address, or a key that is written out.
    """

    def __init__(self, *, base_url: str, model: str, api_key: str = "", timeout_s: float = 20.0) -> None:
        if api_key and references(api_key) == []:
            raise ConfigError("api_key is written out; put it into an environment variable and write ${NAME}")
        if not 0 < timeout_s <= 600:
            raise ConfigError(f"timeout_s of the endpoint must be above 0 and at most 600, got {timeout_s:g}")
        resolve(api_key)  # a name that is not set is better known now
        address = resolve(base_url)
        self._host = _host(address)
        if not model:
            raise ConfigError(f"the endpoint at {self._host} needs the name of a model")
        self._url = address.rstrip("/").removesuffix("/v1") + "/v1/chat/completions"
        self._name, self._api_key, self._timeout_s = model, api_key, timeout_s
        self.model = f"{model}@{self._host}"
        self._client = httpx.Client(timeout=timeout_s, follow_redirects=False)

    def __repr__(self) -> str:
        return f"EndpointDescriber({self.model!r})"

    def describe(self, questions: Sequence[Question]) -> list[str]:
        """One answer per question, in order.

        Raises:
            StageError: the endpoint cannot be reached, refuses, is too slow, or does not answer as OpenAI's does; with
                its host and status, without the key.
        """
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> str:
        body = json.dumps(_request(self._name, question)).encode()
        until_s = time.monotonic() + self._timeout_s
        for attempt in range(NUM_TRIES):
            last = attempt == NUM_TRIES - 1
            try:
                status, headers, answer = self._post(body, until_s)
            except httpx.TimeoutException:
                raise self._too_slow() from None
            except httpx.HTTPError as error:  # its text may repeat the address, user and password and all
                if last:
                    raise StageError(
                        f"{self._host} cannot be reached ({type(error).__name__}); is it running?"
                    ) from None
                pause_s = PAUSE_S
            else:
                if status == 200:
                    return clean_answer(self._text(answer), question.max_words)
                pause_s = _pause_s(headers)
                if last or status not in _TRY_AGAIN or pause_s > MAX_PAUSE_S:
                    raise StageError(f"{self._host} answered {status}{_cure(status)}")
            if time.monotonic() + pause_s >= until_s:
                raise self._too_slow()
            time.sleep(pause_s)
        raise AssertionError("every try returns or raises")

    def _post(self, body: bytes, until_s: float) -> tuple[int, Mapping[str, str], bytes]:
        """Reads at most `MAX_ANSWER_BYTES`, and no longer than ``until_s``: each single read may be quick."""
        headers = {"Content-Type": "application/json"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {resolve(self._api_key)}"
        left_s = max(0.001, until_s - time.monotonic())
        limits = httpx.Timeout(left_s, connect=min(left_s, MAX_CONNECT_S))
        answer = bytearray()
        with self._client.stream("POST", self._url, content=body, headers=headers, timeout=limits) as response:
            for part in response.iter_bytes():
                answer += part
                if len(answer) > MAX_ANSWER_BYTES:
                    raise StageError(f"{self._host} answered with more than {MAX_ANSWER_BYTES // 1024} KiB; not read")
                if time.monotonic() > until_s:
                    raise self._too_slow()
            return response.status_code, response.headers, bytes(answer)

    def _text(self, answer: bytes) -> str:
        try:
            content = json.loads(answer)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError) as error:
            raise StageError(
                f"{self._host} did not answer like an OpenAI-compatible endpoint; check base_url"
            ) from error
        return content if isinstance(content, str) else ""

    def _too_slow(self) -> StageError:
        return StageError(
            f"{self._host} did not answer within {self._timeout_s:g} s; raise timeout_s or ask a smaller model"
        )


def _host(address: str) -> str:
    """Host and port. Where the address is wrong it is not repeated: it may hold a password in the wrong place."""
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise ConfigError("base_url of the endpoint is no address; write http(s)://HOST[:PORT]") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("base_url of the endpoint is no web address; write http(s)://HOST[:PORT]")
    return parts.hostname + port


def _request(model: str, question: Question) -> dict[str, Any]:
    pictures = [
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{_jpeg(picture)}"}}
        for picture in question.pictures[:MAX_PICTURES]
    ]
    return {
        "model": model,
        "messages": [{"role": "user", "content": [*pictures, {"type": "text", "text": question.prompt}]}],
        "max_tokens": 4 * question.max_words + 16,
        "temperature": 0,
    }


def _jpeg(picture: UInt8) -> str:
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX))
    written = io.BytesIO()
    image.save(written, "JPEG", quality=85)
    return base64.b64encode(written.getvalue()).decode()


def _pause_s(headers: Mapping[str, str]) -> float:
    asked = headers.get("Retry-After", "")
    return float(asked) if asked.isdecimal() else PAUSE_S


def _cure(status: int) -> str:
    match status:
        case 401 | 403:
            return ": it does not accept the key; check api_key"
        case 404:
            return ": it has no such address or model; check base_url and model"
        case 400 | 413 | 422:
            return ": it does not take such a question; does the model take pictures?"
        case 429:
            return ": it is asked too often; ask less, or raise its limits"
        case _:
            return ""
