"""The listening page, over HTTP as a browser asks: answers of both, noise at the level asked for,
and nobody else is served.
"""

import json
import re
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from html import unescape
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

from echodistill.audio.files import decode_bytes
from echodistill.core.errors import UserError
from echodistill.serving import app as listen
from echodistill.serving.app import HOST, Backend, Server, listen_on, serve
from tests.conftest import tone
from tests.fake_backend import EXAMPLE, FAKE, TROUBLE, served, wav
from tests.folders import hum

CLIP = wav(hum(0.1))


@pytest.fixture
def server() -> Iterator[Server]:
    with served() as found:
        yield found


def ask(server: Server, body: bytes, **query: Any) -> tuple[int, dict[str, Any]]:
    address = f"http://{HOST}:{server.port}/answer?" + urlencode({"key": server.key} | query)
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, body, method="POST"), timeout=20
        ) as found:
            return found.status, json.loads(found.read())
    except urllib.error.HTTPError as error:
        content = error.read()
        return error.code, json.loads(content) if content.startswith(b"{") else {}


def connect(server: Server) -> socket.socket:
    return socket.create_connection((HOST, server.port), timeout=20)


def post(server: Server, *lines: str, body: bytes = b"", host: str = HOST) -> bytes:
    """What comes back for a request with these header lines, after which nothing more is sent."""
    with connect(server) as line:
        query = urlencode({"key": server.key, "question": "Which?"})
        line.sendall(
            "\r\n".join(
                [f"POST /answer?{query} HTTP/1.1", f"Host: {host}", *lines, "", ""]
            ).encode()
            + body
        )
        return b"".join(iter(lambda: line.recv(65_536), b""))


def test_the_page_states_how_long_a_clip_may_be(server: Server) -> None:
    with urllib.request.urlopen(server.address, timeout=20) as found:
        page = found.read().decode()
    assert "A recording of up to 2.5 s" in page
    assert 'data-longest-s="2.5"' in page


def test_the_page_is_for_who_has_its_address(server: Server) -> None:
    address = f"http://{HOST}:{server.port}/"
    with urllib.request.urlopen(server.address, timeout=20) as found:
        text = found.read().decode()
        policy = found.headers["Content-Security-Policy"]
        assert (found.headers["Referrer-Policy"], found.headers["Cache-Control"]) == (
            "no-referrer",
            "no-store",
        )
        assert "Python" not in found.headers["Server"]
    assert '<option value="rain">rain</option>' in text
    assert "&lt;b&gt;&amp;amp;" in text  # names of noises are no markup
    question = re.findall(r'<input id="question".* value="(.*)">', text)
    choices = re.findall(r'<textarea id="choices".*?>(.*)</textarea>', text, re.DOTALL)
    assert [unescape(found) for found in question] == [
        EXAMPLE.question
    ]  # as it is, though it looks like markup and like a field
    assert [unescape(found).split("\n") for found in choices] == [list(EXAMPLE.choices)]
    assert text.count("{{") == 1
    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in policy
    for wrong in (
        address,
        f"{address}?key=x",
        f"{address}other?key={server.key}",
        f"{address}../server.py?key={server.key}",
    ):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(wrong, timeout=20)
    assert ask(server, b"", key="x")[0] == 404


def test_a_name_that_was_made_to_lead_here_is_not_answered(server: Server) -> None:
    length = f"Content-Length: {len(CLIP)}"
    assert b" 200 " in post(server, length, body=CLIP, host=f"localhost:{server.port}")
    assert b" 404 " in post(server, length, body=CLIP, host=f"evil.example:{server.port}")
    assert b" 404 " in post(server, length, body=CLIP, host="")


def test_a_recording_is_answered_by_both_and_given_back(server: Server) -> None:
    status, found = ask(
        server, wav(hum(0.1, 44_100)), question="Which?", choices=" red, or rose\r\n\n blue \n"
    )
    assert status == 200
    assert found["answers"] == {"base": "16000 samples", "student": "Which? red, or rose | blue"}
    received = decode_bytes(b64decode(found["clip"]), "clip", 10.0).waveform
    assert received.size == 16_000
    loud = ask(server, wav(tone("low", 1), 16_000), question="Which?", noise="rain", snr=-20)[1][
        "clip"
    ]
    quiet = decode_bytes(b64decode(loud), "clip", 10.0).waveform
    assert np.abs(quiet).max() == pytest.approx(0.1 * np.abs(tone("low", 1)).max(), rel=0.02)
    assert (
        ask(server, CLIP, question="Which?", choices=" \n ")[1]["answers"]["student"] == "Which? "
    )


@pytest.mark.parametrize(
    ("body", "query", "message"),
    [
        (b"no audio", {"question": "Which?"}, "the recording"),
        (b"", {"question": "Which?"}, "empty"),
        (CLIP, {"question": "  "}, "the question is empty"),
        (CLIP, {"question": "Which?", "noise": "hum"}, "no noise 'hum'"),
        (
            CLIP,
            {"question": "Which?", "noise": "rain", "snr": "loud"},
            "'loud' dB: give a number from -20 to 30",
        ),
        (CLIP, {"question": "Which?", "noise": "rain", "snr": "nan"}, "'nan' dB"),
        (CLIP, {"question": "Which?", "noise": "rain", "snr": "-inf"}, "'-inf' dB"),
        (CLIP, {"question": "Which?", "noise": "rain", "snr": "1e9"}, "'1e9' dB"),
        (
            CLIP,
            {"question": "Which?", "choices": "\n".join("abcdefghijklmnopqrstuvwxyz0")},
            "27 choices: give 2 to 26, or none",
        ),
        (
            wav(np.zeros(601 * 500), 500),
            {"question": "Which?"},
            "601.0 s is longer than the allowed 600 s",
        ),
    ],
)
def test_what_cannot_be_answered_states_why(
    server: Server, body: bytes, query: dict[str, Any], message: str
) -> None:
    status, found = ask(server, body, **query)
    assert status == 400
    assert message in found["error"]


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Content-Length: x", 400),
        ("Content-Length: -1", 400),
        ("Content-Length: ١", 400),
        ("Transfer-Encoding: chunked", 411),
    ],
)
def test_a_length_that_is_none_is_refused(
    server: Server, header: str, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert f" {status} ".encode() in post(server, header).split(b"\r\n")[0]
    assert capfd.readouterr().err == ""


def test_a_recording_that_is_too_large_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "MAX_BYTES", 2**20)
    status, found = ask(server, bytes(2**20 + 1), question="Which?")
    assert (status, found) == (413, {"error": "the recording is larger than 1 MiB"})


def test_a_recording_that_does_not_come_in_is_given_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "RECEIVE_TIMEOUT_S", 0.3)
    assert b" 408 " in post(server, "Content-Length: 100", body=b"RIFF")
    with connect(server) as line:  # drop by drop is no better
        line.sendall(
            f"POST /answer?key={server.key} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length:"
            " 9999\r\n\r\n".encode()
        )
        line.settimeout(0.1)
        reply = b""
        for _ in range(50):
            with suppress(TimeoutError):
                reply = line.recv(4096)
                break
            line.sendall(b"R")
        assert b" 408 " in reply
    with connect(server) as line:
        line.sendall(
            f"POST /answer?key={server.key} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length:"
            " 100\r\n\r\nRIFF".encode()
        )
        line.shutdown(socket.SHUT_WR)
        assert b" 400 " in line.recv(4096)


def test_models_that_fail_are_reported_on_the_page_and_shown_in_the_terminal(
    server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    status, found = ask(server, CLIP, question=TROUBLE)
    assert status == 500
    assert "out of memory" in found["error"]
    assert ask(server, CLIP, question="Which?")[0] == 200  # the turn was given back
    # it is written after the answer; what is written while it is read would be lost
    time.sleep(0.5)
    shown = ""
    for _ in range(200):
        shown += capfd.readouterr().err
        if "out of memory" in shown:
            break
        time.sleep(0.05)
    assert "Traceback" in shown
    assert server.key not in shown


def test_a_client_that_goes_away_leaves_no_trace_and_its_request_is_skipped(
    capfd: pytest.CaptureFixture[str],
) -> None:
    asked: list[str] = []
    gone = threading.Event()

    def answers(clip: Any, question: str, choices: Any) -> dict[str, str]:
        asked.append(question)
        assert gone.wait(20)
        return {"base": "x" * 50_000_000}

    def leave(server: Server, question: str, rudely: bool) -> None:
        with connect(server) as line:
            query = urlencode({"key": server.key, "question": question})
            line.sendall(
                f"POST /answer?{query} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length:"
                f" {len(CLIP)}\r\n\r\n".encode()
                + CLIP
            )
            while rudely and question not in asked:
                time.sleep(0.01)
            if rudely:
                # a reset, no farewell
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with served(replace(FAKE, answers=answers)) as server:
        leave(server, "first", True)  # while it is answered
        leave(server, "second", False)  # while it waits
        time.sleep(0.2)
        gone.set()
        assert ask(server, CLIP, question="third")[0] == 200
    assert asked == ["first", "third"]
    assert capfd.readouterr().err == ""


def test_a_port_that_cannot_be_used_is_reported_before_anything_is_loaded(server: Server) -> None:
    def load() -> Backend:
        raise AssertionError("loaded")

    with pytest.raises(UserError, match=f"port {server.port} cannot be used .* --port"):
        serve(load, server.port, print)


def test_the_terminal_shows_that_models_are_loaded_and_where_the_page_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logged: list[str] = []

    def load() -> Backend:
        logged.append("loaded")
        return Backend(lambda *_: {}, lambda clip, *_: clip, [], EXAMPLE, 2.5)

    def interrupted(server: Server) -> None:
        logged.append(server.address)
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", interrupted)
    serve(load, 0, logged.append)
    loading, loaded, reply, address, ended = logged
    assert "loading base and student" in loading
    assert (loaded, ended) == ("loaded", "ended")
    assert address in reply
    with listen_on(0) as listening:  # a key each time
        assert Server(FAKE, listening).key not in address
