"""Every test here has a cache of its own, no MINICNN_DATA and no network but a server on this machine."""

import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import platformdirs
import pytest

from minicnn.data import cifar10, mnist

REAL_FOLDERS = [Path(text) for text in os.environ.get("MINICNN_DATA", "").split(os.pathsep) if text]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(folder))
    monkeypatch.delenv("MINICNN_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Files in the official formats need only a few pictures here."""
    monkeypatch.setattr(mnist, "SPLITS", {"train": ("train", 6), "test": ("t10k", 4)})
    monkeypatch.setattr(cifar10, "BATCH_SIZE", 20)


@pytest.fixture
def real_data(monkeypatch):
    """Gives a function: the path of a file in MINICNN_DATA as it was set outside; the sets have their true sizes."""
    monkeypatch.setattr(mnist, "SPLITS", {"train": ("train", 60_000), "test": ("t10k", 10_000)})
    monkeypatch.setattr(cifar10, "BATCH_SIZE", 10_000)

    def path(name):
        found = next((folder / name for folder in REAL_FOLDERS if (folder / name).exists()), None)
        if found is None:
            pytest.skip(f"{name} is not in MINICNN_DATA")
        return found.resolve()

    return path


class Server(ThreadingHTTPServer):
    """Serves `contents` by their names, `content` under any other. `cut` ends one answer after so many bytes."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = b""
        self.contents: dict[str, bytes] = {}
        self.ranges = True
        self.cut: int | None = None
        self.delay = 0.0
        self.asked: list[tuple[str, str | None]] = []  # (path, Range header) of each request

    def url(self, name="file"):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        assert isinstance(server, Server)
        asked = self.headers.get("Range")
        server.asked.append((self.path, asked))
        if self.path.startswith("/redirect/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/redirect/"))
            self.end_headers()
            return
        if self.path == "/missing":
            self.send_error(404)
            return
        time.sleep(server.delay)
        content = server.contents.get(self.path[1:], server.content)
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        end, server.cut = server.cut, None
        self.wfile.write(content[begin:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()
