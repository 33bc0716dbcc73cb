"""As much of the Hugging Face Hub as fetching a model needs, on 127.0.0.1."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c" * 40


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class FakeHub:
    """Repositories by id; ``asked`` notes what was downloaded."""

    repositories: dict[str, dict[str, bytes]]
    url: str = ""
    asked: list[str] = field(default_factory=list)

    def tree(self, model_id: str) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = []
        for name, content in self.repositories[model_id].items():
            row: dict[str, object] = {"type": "file", "path": name, "size": len(content), "oid": git_sha1(content)}
            if name.endswith((".safetensors", ".bin")):
                sha256 = hashlib.sha256(content).hexdigest()
                row["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
            rows.append(row)
        return rows


@contextmanager
def serving(repositories: Mapping[str, Mapping[str, bytes]]) -> Iterator[FakeHub]:
    hub = FakeHub(repositories={name: dict(files) for name, files in repositories.items()})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def answer(self, *, with_body: bool) -> None:
            path = self.path.partition("?")[0].strip("/")
            parts = path.split("/")
            if parts[:2] == ["api", "models"]:
                model_id = "/".join(parts[2:4])
                if model_id not in hub.repositories:
                    self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)
                elif parts[4:5] == ["tree"]:
                    self.send(200, json.dumps(hub.tree(model_id)).encode(), {}, with_body)
                else:
                    self.send(200, json.dumps({"id": model_id, "sha": COMMIT, "siblings": []}).encode(), {}, with_body)
                return
            model_id, name = "/".join(parts[:2]), "/".join(parts[4:])
            content = hub.repositories[model_id][name]
            if with_body:
                hub.asked.append(name)
            large = name.endswith((".safetensors", ".bin"))
            etag = hashlib.sha256(content).hexdigest() if large else git_sha1(content)
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "X-Linked-Size": str(len(content))}
            self.send(200, content, headers, with_body)

        def send(self, status: int, content: bytes, headers: Mapping[str, str], with_body: bool) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_body:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Tests read the answers."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
