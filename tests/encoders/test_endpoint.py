"""A describer behind HTTP, against a real server on this machine that says what a test tells it to."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmstream.encoders.endpoint import LONGEST_SIDE_PX, MAX_ANSWER_BYTES, EndpointDescriber
from mmstream.errors import ConfigError, StageError
from mmstream.stages import Describer, Question

KEY = "sk-very-secret"


class Endpoint(ThreadingHTTPServer):
    """Answers request after request from ``script``: (status, headers, body); the last one is repeated."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[tuple[int, dict[str, str], bytes]] = []
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.silent = self.drip = False
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """A client that has given up is what some tests are about."""

    def say(self, text: str) -> None:
        self.script.append((200, {}, json.dumps({"choices": [{"message": {"content": text}}]}).encode()))


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, dict(self.headers), json.loads(sent)))
        if self.server.silent:
            self.server.over.wait(10)
            return
        status, headers, body = self.server.script.pop(0) if len(self.server.script) > 1 else self.server.script[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            for start in range(0, len(body), 1 if self.server.drip else len(body)):
                self.wfile.write(body[start : start + (1 if self.server.drip else len(body))])
                if self.server.drip:
                    self.server.over.wait(0.05)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


def make_describer(endpoint: Endpoint, **options: Any) -> EndpointDescriber:
    return EndpointDescriber(**{"base_url": endpoint.url, "model": "tiny-vl", "timeout_s": 5.0, **options})


def make_question(num_pictures: int = 1, **more: Any) -> Question:
    pictures = tuple(np.full((90, 160, 3), 40 * number, np.uint8) for number in range(num_pictures))
    return Question(prompt="What happens?", pictures=pictures, **more)


def failure(endpoint: Endpoint, **options: Any) -> str:
    with pytest.raises(StageError) as caught:
        make_describer(endpoint, **options).describe([make_question()])
    assert KEY not in str(caught.value)
    return str(caught.value)


def test_questions_go_out_as_openai_defines_them_and_answers_come_back_clean(endpoint: Endpoint):
    endpoint.say("**A man** falls. He stays down. Nobody helps.")
    endpoint.say("Smoke.")
    describer = make_describer(endpoint)
    assert isinstance(describer, Describer)
    answers = describer.describe([make_question(2), make_question(0, max_words=5)])
    assert answers == ["A man falls. He stays down.", "Smoke."]
    path, headers, body = endpoint.asked[0]
    assert path == "/v1/chat/completions"
    assert "authorization" not in {name.lower() for name in headers}
    assert (body["model"], body["temperature"]) == ("tiny-vl", 0)
    (message,) = body["messages"]
    *pictures, text = message["content"]
    assert (message["role"], text) == ("user", {"type": "text", "text": "What happens?"})
    shades = []
    for picture in pictures:
        kind, _, coded = picture["image_url"]["url"].partition(",")
        assert (picture["type"], kind) == ("image_url", "data:image/jpeg;base64")
        image = Image.open(io.BytesIO(base64.b64decode(coded)))
        assert image.size == (160, 90)
        shades.append(image.getpixel((80, 45))[0])  # type: ignore[index]
    assert shades == pytest.approx([0, 40], abs=3)
    assert [part["type"] for part in endpoint.asked[1][2]["messages"][0]["content"]] == ["text"]


def test_large_pictures_are_sent_small(endpoint: Endpoint):
    endpoint.say("A wall.")
    picture = np.zeros((1080, 1920, 3), np.uint8)
    make_describer(endpoint).describe([Question(prompt="?", pictures=(picture,))])
    coded = endpoint.asked[0][2]["messages"][0]["content"][0]["image_url"]["url"].partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(coded))).size == (LONGEST_SIDE_PX, LONGEST_SIDE_PX * 9 // 16)


def test_the_key_comes_from_the_environment_and_is_shown_nowhere(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLM_KEY", KEY)
    endpoint.say("Fine.")
    describer = make_describer(endpoint, api_key="${VLM_KEY}")
    assert describer.describe([make_question()]) == ["Fine."]
    assert endpoint.asked[0][1]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(describer) + repr(vars(describer)) + describer.model
    endpoint.script = [(401, {}, f"invalid key {KEY}".encode())]
    assert failure(endpoint, api_key="${VLM_KEY}").endswith("answered 401: it does not accept the key; check api_key")
    assert len(endpoint.asked) == 2, "a refused key is not tried again"


def test_a_key_that_is_written_out_or_not_set_is_refused_without_repeating_it(endpoint: Endpoint):
    with pytest.raises(ConfigError, match=r"write \$\{NAME\}") as caught:
        make_describer(endpoint, api_key=KEY)
    assert KEY not in str(caught.value)
    with pytest.raises(ConfigError, match="MMSTREAM_NO_SUCH_KEY is not set"):
        make_describer(endpoint, api_key="${MMSTREAM_NO_SUCH_KEY}")


@pytest.mark.parametrize(
    "base_url", ["127.0.0.1:8000", "ftp://host/v1", "admin:s3cr3t@10.0.0.1", "http://admin:s3/cr3t@host:1", "http://"]
)
def test_an_address_that_is_none_is_refused_without_repeating_it(base_url: str):
    with pytest.raises(ConfigError, match="base_url of the endpoint") as caught:
        EndpointDescriber(base_url=base_url, model="tiny-vl")
    assert "cr3t" not in str(caught.value)


def test_an_address_may_end_in_v1_and_hold_a_password_that_stays_hidden(endpoint: Endpoint):
    endpoint.say("Fine.")
    address = endpoint.url.replace("http://", "http://admin:s3cr3t@") + "/v1/"
    describer = make_describer(endpoint, base_url=address)
    assert describer.describe([make_question()]) == ["Fine."]
    assert endpoint.asked[0][0] == "/v1/chat/completions"
    assert "s3cr3t" not in repr(describer) + describer.model
    endpoint.script = [(404, {}, b"")]
    sentence = failure(endpoint, base_url=address)
    assert "answered 404: it has no such address or model" in sentence
    assert "s3cr3t" not in sentence


def test_a_busy_endpoint_is_asked_once_more_when_it_says_soon(endpoint: Endpoint):
    endpoint.script = [(429, {"Retry-After": "0"}, b"")]
    endpoint.say("Later.")
    assert make_describer(endpoint).describe([make_question()]) == ["Later."]
    assert len(endpoint.asked) == 2


def test_a_busy_endpoint_is_asked_twice_at_most(endpoint: Endpoint):
    endpoint.script = [(503, {"Retry-After": "0"}, b"")]
    assert "answered 503" in failure(endpoint)
    assert len(endpoint.asked) == 2


def test_nobody_waits_an_hour_for_a_moment_that_has_passed(endpoint: Endpoint):
    endpoint.script = [(429, {"Retry-After": "3600"}, b"")]
    assert "answered 429: it is asked too often" in failure(endpoint)
    assert len(endpoint.asked) == 1


def test_a_silent_endpoint_is_given_up_in_time(endpoint: Endpoint):
    endpoint.silent = True
    assert "did not answer within 0.2 s; raise timeout_s" in failure(endpoint, timeout_s=0.2)
    assert len(endpoint.asked) == 1


def test_an_endpoint_that_drips_is_given_up_in_time(endpoint: Endpoint):
    endpoint.drip = True
    endpoint.say("word " * 100)
    assert "did not answer within 0.3 s" in failure(endpoint, timeout_s=0.3)


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b"[]", b'{"choices": []}', b'{"choices": [{"message": null}]}', b"\xff\xfe"]
)
def test_garbage_is_a_plain_sentence(endpoint: Endpoint, body: bytes):
    endpoint.script = [(200, {}, body)]
    assert "did not answer like an OpenAI-compatible endpoint" in failure(endpoint)


def test_a_huge_answer_is_not_read(endpoint: Endpoint):
    endpoint.script = [(200, {}, b" " * (4 * MAX_ANSWER_BYTES))]
    assert "answered with more than 256 KiB" in failure(endpoint)


def test_an_answer_without_words_is_empty(endpoint: Endpoint):
    endpoint.script = [(200, {}, b'{"choices": [{"message": {"content": null}}]}')]
    assert make_describer(endpoint).describe([make_question()]) == [""]


def test_a_redirect_is_not_followed_with_the_pictures(endpoint: Endpoint):
    endpoint.script = [(307, {"Location": "http://127.0.0.1:9/elsewhere"}, b"")]
    assert "answered 307" in failure(endpoint)


def test_an_endpoint_that_is_not_there_is_a_plain_sentence(endpoint: Endpoint):
    address = endpoint.url
    endpoint.server_close()
    with pytest.raises(StageError, match="cannot be reached"):
        EndpointDescriber(base_url=address, model="tiny-vl", timeout_s=2.0).describe([make_question()])
