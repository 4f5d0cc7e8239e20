"""The listening page, over HTTP as a browser asks: answers of both, noise at the level asked for, and nobody else is served."""

import json
import threading
import urllib.error
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
import soundfile

from echodistill.audio.files import decode_bytes
from echodistill.errors import UserError
from echodistill.listen.server import HOST, Asker, Server, open_server
from tests.conftest import tone


def wav(samples: Any, rate: int = 44_100) -> bytes:
    content = BytesIO()
    soundfile.write(content, samples, rate, format="WAV")
    return content.getvalue()


@pytest.fixture
def server() -> Iterator[Server]:
    def answers(clip: Any, question: str, choices: Any) -> dict[str, str]:
        return {"base": f"{clip.size} samples", "student": f"{question} {','.join(choices)}"}

    def in_noise(clip: Any, kind: str, snr_db: float) -> Any:
        if kind != "rain":
            raise UserError(f"there is no noise {kind!r}")
        return (clip * 10 ** (snr_db / 20)).astype(np.float32)

    server = open_server(Asker(answers, in_noise, ["rain"]), 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def ask(server: Server, body: bytes, **query: Any) -> tuple[int, dict[str, Any]]:
    address = f"http://{HOST}:{server.server_port}/answer?" + urlencode({"key": server.key} | query)
    try:
        with urllib.request.urlopen(urllib.request.Request(address, body, method="POST"), timeout=20) as found:
            return found.status, json.loads(found.read())
    except urllib.error.HTTPError as error:
        content = error.read()
        return error.code, json.loads(content) if content.startswith(b"{") else {}


def test_the_page_is_for_who_has_its_address(server: Server) -> None:
    address = f"http://{HOST}:{server.server_port}/"
    with urllib.request.urlopen(f"{address}?key={server.key}", timeout=20) as found:
        text = found.read().decode()
    assert '["rain"]' in text
    assert "{{" not in text
    for wrong in (address, f"{address}?key=x", f"{address}other?key={server.key}"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(wrong, timeout=20)
    assert ask(server, b"", key="x")[0] == 404


def test_a_recording_is_answered_by_both_and_given_back(server: Server) -> None:
    status, found = ask(server, wav(0.1 * np.ones(44_100)), question="Which?", choices=" red, blue ,")
    assert status == 200
    assert found["answers"] == {"base": "16000 samples", "student": "Which? red,blue"}
    heard = decode_bytes(b64decode(found["heard"]), "heard", 10.0).waveform
    assert heard.size == 16_000
    loud = ask(server, wav(tone("low", 1), 16_000), question="Which?", noise="rain", snr=-20)[1]["heard"]
    quiet = decode_bytes(b64decode(loud), "heard", 10.0).waveform
    assert np.abs(quiet).max() == pytest.approx(0.1 * np.abs(tone("low", 1)).max(), rel=0.02)


@pytest.mark.parametrize(
    ("body", "query", "says"),
    [
        (b"no audio", {"question": "Which?"}, "the recording"),
        (wav(0.1 * np.ones(8_000)), {"question": "  "}, "ask a question"),
        (wav(0.1 * np.ones(8_000)), {"question": "Which?", "noise": "hum"}, "no noise 'hum'"),
        (wav(0.1 * np.ones(8_000)), {"question": "Which?", "noise": "rain", "snr": "loud"}, "loud"),
    ],
)
def test_what_cannot_be_answered_says_why(server: Server, body: bytes, query: dict[str, Any], says: str) -> None:
    status, found = ask(server, body, **query)
    assert status == 400
    assert says in found["error"]


def test_a_taken_port_is_told(server: Server) -> None:
    with pytest.raises(UserError, match=f"port {server.server_port} is taken"):
        open_server(server.asker, server.server_port)
