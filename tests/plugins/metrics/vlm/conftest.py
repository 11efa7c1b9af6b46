"""An endpoint on loopback that speaks the chat protocol with the standard library alone, and misbehaves as it is told."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dynaip.contracts import Case, CaseReference

KEY = "sk-secret-0123456789"


class Server(ThreadingHTTPServer):
    """Notes every call; ``behave(number, body)`` gives (status, headers, payload), or bytes that are sent as they are."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.calls: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.answered: list[str] = []
        self.lock = threading.Lock()
        self.behave: Callable[[int, dict[str, Any]], Any] = lambda number, body: said({"reason": "so", "score": 3})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.calls)
            self.server.calls.append(body)
            self.server.keys.append(self.headers.get("Authorization", ""))
        status, headers, payload = self.server.behave(number, body)
        try:
            if isinstance(payload, bytes):
                self.wfile.write(payload)
                self.close_connection = True
                return
            data = json.dumps(payload).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": len(data), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            return
        with self.server.lock:
            self.server.answered.append(json.dumps(body["messages"]))

    def log_message(self, format: str, *args: Any) -> None:
        pass


def said(content: Any, finish: str = "stop", **message: Any) -> tuple[int, dict[str, str], Any]:
    """A whole chat completion."""
    text = content if isinstance(content, str) or content is None else json.dumps(content)
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    usage = {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050}
    about = {"id": "x", "object": "chat.completion", "created": int(time.time()), "model": "m"}
    return 200, {}, {**about, "choices": [choice], "usage": usage}


def shown(body: dict[str, Any]) -> list[Image.Image]:
    """The pictures of a call."""
    parts = [part for part in body["messages"][0]["content"] if part["type"] == "image_url"]
    data = [base64.b64decode(part["image_url"]["url"].partition(",")[2]) for part in parts]
    return [Image.open(io.BytesIO(each)) for each in data]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", made.url)
    yield made
    made.shutdown()
    made.server_close()


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 24, 3), dtype=np.uint8))


@pytest.fixture
def cases() -> list[Case]:
    return [
        Case(f"case-{k}", "single", f"a dog number {k}", (CaseReference(picture(k), subject="dog"),), seed=k)
        for k in range(4)
    ]


@pytest.fixture
def images() -> list[Image.Image]:
    return [picture(100 + k) for k in range(4)]


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Any]:
    """Make a judge whose records lie below ``tmp_path``."""
    from dynaip.config import ComponentSpec
    from dynaip.registry import registry

    def make(**options: Any) -> Any:
        given = {"use": "vlm", "model": "m", "records": str(tmp_path / "records"), "pause": 0.01, "timeout": 5.0}
        return registry().build(ComponentSpec.parse("metric", {**given, **options}))

    return make
