"""A page on this machine: record or upload a clip, slide the level of noise, and read what base and
student answer.
"""

import json
import re
import secrets
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from select import select
from socket import MSG_PEEK
from threading import Lock
from time import monotonic
from typing import Any
from urllib.parse import parse_qs, urlsplit

from echodistill.audio.files import decode_bytes
from echodistill.audio.levels import Waveform
from echodistill.audio.stored import encode_flac
from echodistill.errors import UserError
from echodistill.listen.example import Example
from echodistill.models.prompts import validate_question

HOST = "127.0.0.1"
HERE = Path(__file__).parent
FILES = {"/page.css": "text/css", "/page.js": "text/javascript", "/recorder.js": "text/javascript"}
"""What the page needs beside itself; no secret is in there."""
MAX_BYTES = 50 * 2**20
MAX_DURATION_S = 600.0
LOWEST_DB, HIGHEST_DB = -20, 30
LINE_ENDS = re.compile(r"\r\n|\r|\n")
PATIENCE_S = 30.0
"""For a whole recording to come in, and for each wait on a client."""
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address holds the key
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src"
        " data:; media-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


@dataclass(frozen=True)
class Asker:
    """What the page asks."""

    answers: Callable[[Waveform, str, Sequence[str]], dict[str, str]]
    """Clip, question and choices to each model's answer, by the model's name."""
    in_noise: Callable[[Waveform, str, float], Waveform]
    kinds: Sequence[str]
    """Of noise."""
    example: Example
    """What the page's fields hold at first."""
    longest_s: float
    """The longest clip that the models take."""


def serve(load: Callable[[], Asker], port: int, log: Callable[[str], None]) -> None:
    """Serve the page until interrupted; ``port`` 0 takes a free one. Raises ``UserError``, for the
    port before anything is loaded.
    """
    with open_server(port) as server:
        try:
            log("loading base and student: some seconds, or minutes for a large base ...")
            server.asker = load()
            log(f"open in a browser: {server.address}  (ends with Ctrl-C)")
            server.serve_forever()
        except KeyboardInterrupt:
            log("ended")


class Server(ThreadingHTTPServer):
    """On loopback; only who has its address with the key is answered, so other pages in the same
    browser cannot ask.
    """

    daemon_threads = True
    asker: Asker
    """Set before anything is served."""

    def __init__(self, port: int) -> None:
        super().__init__((HOST, port), Handler)
        self.key = secrets.token_urlsafe(16)
        self.turn = Lock()  # one recording at a time is decoded and answered

    @property
    def address(self) -> str:
        """The page's, with the key."""
        return f"http://{HOST}:{self.server_port}/?key={self.key}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no fault; anything else is printed with its traceback."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def open_server(port: int) -> Server:
    """Listen; nothing is served yet. Raises ``UserError``."""
    try:
        return Server(port)
    except OSError as error:
        raise UserError(
            f"port {port} cannot be used ({error.strerror}): give another with --port, or --port 0"
            " for a free one"
        ) from error


class Refused(Exception):
    """A request that is not answered: HTTP status and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    """``GET /`` is the page, ``POST /answer`` takes a recording and gives the answers as JSON."""

    server: Server
    timeout = PATIENCE_S
    error_content_type, error_message_format = "text/plain", "%(code)d %(message)s\n"

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path in FILES and self._asked_by_address():
            self._send(200, FILES[address.path], (HERE / address.path[1:]).read_bytes())
        elif address.path == "/" and self._may_ask(address.query):
            self._send(200, "text/html", _page(self.server.asker).encode())
        else:
            self._send(
                404,
                "text/plain",
                b"not found: open the address that `echodistill listen` printed\n",
            )

    def do_POST(self) -> None:
        address = urlsplit(self.path)
        try:
            if address.path != "/answer" or not self._may_ask(address.query):
                raise Refused(404, "not found: open the address that `echodistill listen` printed")
            self._json(200, self._answer(self._body(), parse_qs(address.query)))
        except Refused as refused:
            self._json(refused.status, {"error": str(refused)})
        except UserError as error:
            self._json(400, {"error": str(error)})
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:
            self._json(500, {"error": f"the models failed ({error}): the terminal shows where"})
            raise

    def _body(self) -> bytes:
        """The recording. Raises ``Refused``."""
        told = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,15}", told):
            raise Refused(
                400 if told else 411, "the request does not say how long the recording is"
            )
        size = int(told)
        if size > MAX_BYTES:
            for _ in self._blocks(size):  # a client hears the answer only once it has sent all
                pass
            raise Refused(413, f"the recording is larger than {MAX_BYTES // 2**20} MiB")
        return b"".join(self._blocks(size))

    def _blocks(self, size: int) -> Iterator[bytes]:
        """The request's next ``size`` bytes as they come. Raises ``Refused`` when they do not."""
        until = monotonic() + PATIENCE_S
        try:
            while size:
                self.connection.settimeout(max(0.001, until - monotonic()))
                block = self.rfile.read1(min(size, 2**16))
                if not block:
                    raise Refused(400, "the recording came in only in part")
                size -= len(block)
                yield block
        except TimeoutError as error:
            raise Refused(408, f"the recording did not come in within {PATIENCE_S:g} s") from error
        finally:
            self.connection.settimeout(self.timeout)

    def _answer(self, content: bytes, query: dict[str, list[str]]) -> dict[str, Any]:
        def field(name: str) -> str:
            return query.get(name, [""])[0].strip()

        choices = [part.strip() for part in LINE_ENDS.split(field("choices")) if part.strip()]
        validate_question(field("question"), choices)
        kind, level = field("noise"), _level(field("snr") or "0")
        with self.server.turn:
            if self._gone():
                raise ConnectionAbortedError
            waveform = decode_bytes(content, "the recording", MAX_DURATION_S).waveform
            if kind:
                waveform = self.server.asker.in_noise(waveform, kind, level)
            said = self.server.asker.answers(waveform, field("question"), choices)
        return {"answers": said, "heard": b64encode(encode_flac(waveform)).decode()}

    def _gone(self) -> bool:
        """Whether the client gave up while it waited for its turn."""
        readable, _, _ = select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, MSG_PEEK)

    def _may_ask(self, query: str) -> bool:
        key = parse_qs(query).get("key", [""])[0]
        return self._asked_by_address() and secrets.compare_digest(
            key.encode(), self.server.key.encode()
        )

    def _asked_by_address(self) -> bool:
        """Not by a stranger's name that was made to lead here (DNS rebinding). A forwarded port may
        differ from ours.
        """
        return self.headers.get("Host", "").partition(":")[0] in (HOST, "localhost")

    def _json(self, status: int, content: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(content).encode())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(content)),
            **HEADERS,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def version_string(self) -> str:
        """Not the versions of Python and its library."""
        return "echodistill"

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the terminal shows the address only."""


def _page(asker: Asker) -> str:
    options = "".join(
        f'<option value="{escape(kind)}">{escape(kind)}</option>' for kind in asker.kinds
    )
    page = (HERE / "page.html").read_text(encoding="utf-8")
    filled = {
        "kinds": options,
        "lowest": f"{LOWEST_DB}",
        "highest": f"{HIGHEST_DB}",
        "max_mib": f"{MAX_BYTES // 2**20}",
        "longest_s": f"{asker.longest_s:g}",
        "question": escape(asker.example.question),
        "choices": escape("\n".join(asker.example.choices)),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda name: filled[name[1]], page)


def _level(text: str) -> float:
    """An SNR in dB, one that the slider has. Raises ``UserError``, for NaN too."""
    try:
        level = float(text)
    except ValueError:
        level = float("nan")
    if not LOWEST_DB <= level <= HIGHEST_DB:
        raise UserError(f"an SNR of {text!r} dB: give a number from {LOWEST_DB} to {HIGHEST_DB}")
    return level
