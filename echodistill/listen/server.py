"""A page on this machine: record or upload a clip, slide the level of noise, and read what base and student answer."""

import json
import secrets
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from echodistill.audio.files import decode_bytes, encode_flac
from echodistill.audio.levels import Waveform
from echodistill.errors import UserError

HOST = "127.0.0.1"
PAGE = Path(__file__).with_name("page.html")
MAX_BYTES = 50 * 2**20
MAX_DURATION_S = 600.0


@dataclass(frozen=True)
class Asker:
    """What the page asks."""

    answers: Callable[[Waveform, str, Sequence[str]], dict[str, str]]
    """Clip, question and choices to each model's answer, by the model's name."""
    in_noise: Callable[[Waveform, str, float], Waveform]
    kinds: Sequence[str]
    """Of noise."""


def serve(asker: Asker, port: int, say: Callable[[str], None]) -> None:
    """Serve the page until interrupted; ``port`` 0 takes a free one. Raises ``UserError`` for a port that is taken."""
    server = open_server(asker, port)
    say(f"http://{HOST}:{server.server_port}/?key={server.key}  (ends with Ctrl-C)")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        say("ended")
    finally:
        server.server_close()


class Server(ThreadingHTTPServer):
    """On loopback; only who has its address with the key is answered, so other pages in the same browser cannot ask."""

    daemon_threads = True

    def __init__(self, asker: Asker, port: int) -> None:
        super().__init__((HOST, port), Handler)
        self.asker = asker
        self.key = secrets.token_urlsafe(16)
        self.turn = Lock()  # one model call at a time


def open_server(asker: Asker, port: int) -> Server:
    """Listen; nothing is served yet. Raises ``UserError``."""
    try:
        return Server(asker, port)
    except OSError as error:
        raise UserError(f"port {port} is taken ({error.strerror}): give another with --port") from error


class Handler(BaseHTTPRequestHandler):
    """``GET /`` is the page, ``POST /answer`` takes a recording and gives the answers as JSON."""

    server: Server

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path != "/" or not self._has_key(address.query):
            self._send(404, "text/plain", b"not found: open the address that `echodistill listen` printed\n")
            return
        page = PAGE.read_text(encoding="utf-8").replace("{{kinds}}", json.dumps(list(self.server.asker.kinds)))
        self._send(200, "text/html; charset=utf-8", page.encode())

    def do_POST(self) -> None:
        address = urlsplit(self.path)
        size = int(self.headers.get("Content-Length") or 0)
        if address.path != "/answer" or not self._has_key(address.query):
            self._send(404, "text/plain", b"not found\n")
        elif size > MAX_BYTES:
            self._json(413, {"error": f"the recording is larger than {MAX_BYTES // 2**20} MiB"})
        else:
            try:
                self._json(200, self._answer(self.rfile.read(size), parse_qs(address.query)))
            except (UserError, ValueError) as error:
                self._json(400, {"error": str(error)})

    def _answer(self, content: bytes, query: dict[str, list[str]]) -> dict[str, Any]:
        question = query.get("question", [""])[0].strip()
        if not question:
            raise UserError("ask a question")
        choices = [part.strip() for part in query.get("choices", [""])[0].split(",") if part.strip()]
        waveform = decode_bytes(content, "the recording", MAX_DURATION_S).waveform
        with self.server.turn:
            if kind := query.get("noise", [""])[0]:
                waveform = self.server.asker.in_noise(waveform, kind, float(query.get("snr", ["0"])[0]))
            said = self.server.asker.answers(waveform, question, choices)
        return {"answers": said, "heard": b64encode(encode_flac(waveform)).decode()}

    def _has_key(self, query: str) -> bool:
        return secrets.compare_digest(parse_qs(query).get("key", [""])[0].encode(), self.server.key.encode())

    def _json(self, status: int, content: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(content).encode())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")  # the address holds the key
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the terminal shows the address only."""
