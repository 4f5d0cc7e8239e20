"""A proxy in front of an S3 store that fails requests on purpose, and counts what passes."""

import http.client
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Proxy:
    """What to do to requests, and what was seen."""

    endpoint: str
    faults: list[tuple[str, str]] = field(default_factory=list)
    """``(pattern, fault)``: the first whose pattern is in ``METHOD path`` is used up by that
    request. Faults: a status such as ``503``, ``reset``, ``lost`` (it is done, the answer reset),
    ``cut`` (half the answer), ``flip`` (a bit of the body that passes), ``hang`` (until the client
    is gone).
    """
    seen: list[tuple[str, int]] = field(default_factory=list)
    """``METHOD path`` and status of each request answered by the store."""
    hooks: list[tuple[str, Callable[[], object]]] = field(default_factory=list)
    """Called once, before a request whose ``METHOD path`` holds the pattern is passed on."""
    hung: threading.Event = field(default_factory=threading.Event)

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, line)) for line, _ in self.seen)


def flipped(content: bytes) -> bytes:
    """``content`` with a bit in its middle turned round."""
    changed = bytearray(content)
    if changed:
        changed[len(changed) // 2] ^= 1
    return bytes(changed)


@contextmanager
def faulty_proxy(target: str) -> Iterator[Proxy]:
    lock = threading.Lock()

    def take(rows: list[tuple[str, object]], line: str) -> object | None:
        with lock:
            for index, (pattern, value) in enumerate(rows):
                if re.search(pattern, line):
                    del rows[index]
                    return value
        return None

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self) -> None:
            line = f"{self.command} {self.path}"
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hook = take(proxy.hooks, line)  # type: ignore[arg-type]
            if callable(hook):
                hook()
            fault = take(proxy.faults, line)  # type: ignore[arg-type]
            if fault == "hang":
                proxy.hung.set()
                self.connection.settimeout(30)
                self.connection.recv(1)
                self.close_connection = True
            elif fault == "reset":
                self.reset()
            elif isinstance(fault, str) and fault.isdigit():
                self.answer(int(fault), [("Content-Length", "0")], b"")
            else:
                self.forward(line, flipped(body) if fault == "flip" else body, fault)

        def forward(self, line: str, body: bytes, fault: object) -> None:
            upstream = http.client.HTTPConnection(urlsplit(target).netloc, timeout=30)
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in ("expect", "connection")
            }
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
            if fault == "flip":
                content = flipped(content)
            with lock:
                proxy.seen.append((line, answer.status))
            if fault == "lost":
                self.reset()
                return
            skipped = ("connection", "transfer-encoding", "content-length")
            kept = [
                (name, value) for name, value in answer.getheaders() if name.lower() not in skipped
            ]
            length = (
                answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            )
            kept.append(("Content-Length", length or "0"))
            self.answer(
                answer.status, kept, content[: len(content) // 2] if fault == "cut" else content
            )
            self.close_connection = fault == "cut"
            upstream.close()

        def answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def reset(self) -> None:
            # closing with a zero linger time sends RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = serve

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # clients are cut on purpose

    server = Server(("127.0.0.1", 0), Handler)
    proxy = Proxy(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    ).start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
