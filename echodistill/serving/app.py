"""Serve the page of `echodistill listen` on this machine.

A person records or uploads a clip, chooses the level of noise, and reads the answers of base and
student.
"""

import asyncio
import re
import secrets
import socket
import traceback
from base64 import b64encode
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from fastapi.telemetry import TelemetryConfig
from fastapi.templating import Jinja2Templates
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol

from echodistill.audio.files import decode_bytes
from echodistill.audio.levels import Waveform
from echodistill.audio.stored import encode_flac
from echodistill.core.errors import UserError
from echodistill.models.prompts import validate_question
from echodistill.serving.example import Example

HOST = "127.0.0.1"
HERE = Path(__file__).parent
TEMPLATES = Jinja2Templates(HERE)
FILES = {"page.css": "text/css", "page.js": "text/javascript", "recorder.js": "text/javascript"}
"""Media types of the files that the page loads. These files contain no secret."""
MAX_BYTES = 50 * 2**20
MAX_DURATION_S = 600.0
MIN_DB, MAX_DB = -20, 30
LINE_ENDS = re.compile(r"\r\n|\r|\n")
RECEIVE_TIMEOUT_S = 30.0
"""Time in seconds within which the lines of a request, and the whole of a recording, must
arrive.
"""
HEADERS = {
    "Server": "echodistill",
    "Connection": "close",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # The address contains the key.
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src"
        " data:; media-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
NO_TELEMETRY = TelemetryConfig(tracing=False, metrics=False, logs=False, auto_configure=False)
"""Settings with which FastAPI sends no telemetry, whatever the environment configures."""
NOT_FOUND = "not found: open the address that `echodistill listen` printed"


@dataclass(frozen=True)
class Backend:
    """The functions and facts that the page uses."""

    answers: Callable[[Waveform, str, Sequence[str]], dict[str, str]]
    """Function from clip, question and choices to the answers by model name."""
    in_noise: Callable[[Waveform, str, float], Waveform]
    """Function from clip, kind of noise and SNR in dB to the noisy clip."""
    kinds: Sequence[str]
    """Kinds of noise."""
    example: Example
    """Initial content of the page's fields."""
    longest_s: float
    """Duration in seconds of the longest clip that the models take."""


def serve(load: Callable[[], Backend], port: int, log: Callable[[str], None]) -> None:
    """Serve the page until interrupted, on ``port`` or, where it is 0, on a free one.

    Raise ``UserError`` for a port that cannot be used before anything is loaded.
    """
    with listen_on(port) as listening:
        try:
            log("loading base and student: some seconds, or minutes for a large base ...")
            server = Server(load(), listening)
            log(f"open in a browser: {server.address}  (ends with Ctrl-C)")
            server.serve_forever()
        except KeyboardInterrupt:
            log("ended")


def listen_on(port: int) -> socket.socket:
    """Return a socket that listens on loopback. Raise ``UserError`` if ``port`` cannot be used."""
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise UserError(
            f"port {port} cannot be used ({error.strerror}): give another with --port, or --port 0"
            " for a free one"
        ) from error


class Server(uvicorn.Server):
    """A server that answers only requests with its key, so that other pages in the same browser get
    no answer.
    """

    def __init__(self, backend: Backend, listening: socket.socket) -> None:
        self.key = secrets.token_urlsafe(16)
        self.port: int = listening.getsockname()[1]
        self._listening = listening
        app = FastAPI(openapi_url=None, exception_handlers=HANDLERS, telemetry=NO_TELEMETRY)
        app.state.backend, app.state.key = backend, self.key
        app.state.turn = asyncio.Lock()  # One recording at a time is decoded and answered.
        app.include_router(routes)
        super().__init__(
            uvicorn.Config(
                app,
                http=_Protocol,
                headers=list(HEADERS.items()),
                server_header=False,
                log_config=None,
                log_level="critical",  # A log of requests would show the key.
            )
        )

    @property
    def address(self) -> str:
        """Return the page's address with the key."""
        return f"http://{HOST}:{self.port}/?key={self.key}"

    def serve_forever(self) -> None:
        """Serve in a daemon thread, so that Ctrl-C does not wait for an unfinished answer."""
        thread = Thread(target=self.run, args=([self._listening],), daemon=True)
        thread.start()
        thread.join()


class _Protocol(H11Protocol):
    """Uvicorn's protocol with a time limit for requests and an answer to one that ends early.

    Uvicorn itself waits for a request without a limit, and drops a request that ends early without
    an answer.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(RECEIVE_TIMEOUT_S, self._end_without_request)

    def _end_without_request(self) -> None:
        if self.cycle is None:
            self.transport.close()

    def eof_received(self) -> bool:  # type: ignore[override]
        ends_early = self.cycle is not None and self.cycle.more_body
        if ends_early:
            self.cycle.more_body = False
            self.cycle.message_event.set()
        return ends_early


def _check_host(request: Request) -> None:
    """Raise ``HTTPException`` for a foreign host name that resolves to this machine (DNS
    rebinding).

    Only the name is compared, because a forwarded port may differ.
    """
    if request.headers.get("Host", "").partition(":")[0] not in (HOST, "localhost"):
        raise HTTPException(404)


def _check_key(request: Request) -> None:
    key = request.query_params.get("key", "")
    if not secrets.compare_digest(key.encode(), request.app.state.key.encode()):
        raise HTTPException(404)


routes = APIRouter(dependencies=[Depends(_check_host)])


@routes.get("/", dependencies=[Depends(_check_key)])
def page(request: Request) -> Response:
    """Return the page with its fields filled."""
    fields = {"lowest": MIN_DB, "highest": MAX_DB, "max_mib": MAX_BYTES // 2**20}
    fields["backend"] = request.app.state.backend
    return TEMPLATES.TemplateResponse(request, "page.html", fields)


@routes.get("/{name}")
def file(name: str) -> Response:
    """Return a file that the page needs."""
    if name not in FILES:
        raise HTTPException(404)
    return FileResponse(HERE / name, media_type=FILES[name])


@routes.post("/answer", dependencies=[Depends(_check_key)])
async def answer(
    request: Request, question: str = "", choices: str = "", noise: str = "", snr: str = ""
) -> Response:
    """Return the answers to a recording in the request's body, and the clip that the models got, as
    JSON.
    """
    backend: Backend = request.app.state.backend
    content = await _recording(request)
    question, kind, level = question.strip(), noise.strip(), _level(snr.strip() or "0")
    options = [part.strip() for part in LINE_ENDS.split(choices) if part.strip()]
    validate_question(question, options)

    def ask() -> dict[str, object]:
        waveform = decode_bytes(content, "the recording", MAX_DURATION_S).waveform
        if kind:
            waveform = backend.in_noise(waveform, kind, level)
        answers = backend.answers(waveform, question, options)
        return {"answers": answers, "clip": b64encode(encode_flac(waveform)).decode()}

    async with request.app.state.turn:
        if await request.is_disconnected():  # The client disconnected while it waited for its turn.
            return Response()
        return JSONResponse(await run_in_threadpool(ask))


async def _recording(request: Request) -> bytes:
    """Return the request's body. Raise ``HTTPException`` if it is too large or does not arrive
    completely.
    """
    length = request.headers.get("Content-Length", "")
    if not re.fullmatch(r"[0-9]{1,15}", length):
        why = "the request does not state how long the recording is"
        raise HTTPException(400 if length else 411, why)
    size, received, blocks = int(length), 0, []
    try:
        async with asyncio.timeout(RECEIVE_TIMEOUT_S):
            with suppress(ClientDisconnect):
                # A client reads the error about a too large recording only after it has sent all of
                # it.
                async for block in request.stream():
                    received += len(block)
                    blocks += [block] if size <= MAX_BYTES else []
    except TimeoutError as error:
        why = f"the recording was not received within {RECEIVE_TIMEOUT_S:g} s"
        raise HTTPException(408, why) from error
    if received < size:
        raise HTTPException(400, "only a part of the recording was received")
    if size > MAX_BYTES:
        raise HTTPException(413, f"the recording is larger than {MAX_BYTES // 2**20} MiB")
    return b"".join(blocks)


def _level(text: str) -> float:
    """Return an SNR in dB that the slider has. Raise ``UserError`` for any other value, and for
    NaN.
    """
    with suppress(ValueError):
        if MIN_DB <= float(text) <= MAX_DB:
            return float(text)
    raise UserError(f"an SNR of {text!r} dB: give a number from {MIN_DB} to {MAX_DB}")


async def _http_error(request: Request, error: HTTPException) -> Response:
    why = NOT_FOUND if error.status_code == 404 else error.detail
    if request.method == "POST":
        return JSONResponse({"error": why}, error.status_code)
    return PlainTextResponse(f"{why}\n", error.status_code)


async def _user_error(_request: Request, error: UserError) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _model_error(_request: Request, error: Exception) -> Response:
    traceback.print_exception(error)
    return JSONResponse({"error": f"the models failed ({error}): the terminal shows where"}, 500)


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    HTTPException: _http_error,
    UserError: _user_error,
    Exception: _model_error,
}
