"""The listening page's server with models that only return what they were asked."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
import soundfile

from echodistill.core.errors import UserError
from echodistill.serving.app import Backend, Server, listen_on
from echodistill.serving.example import Example

EXAMPLE = Example(
    "Is it <b>red</b> & {{kinds}}?", ("red, or rose", "blue", '"green" & </textarea>')
)
TROUBLE = "What is wrong with you?"
"""At this question the models fail."""


def wav(samples: Any, rate: int = 44_100) -> bytes:
    content = BytesIO()
    soundfile.write(content, samples, rate, format="WAV")
    return content.getvalue()


def answers(clip: Any, question: str, choices: Any) -> dict[str, str]:
    if question == TROUBLE:
        raise RuntimeError("out of memory")
    return {"base": f"{clip.size} samples", "student": f"{question} {' | '.join(choices)}"}


def in_noise(clip: Any, kind: str, snr_db: float) -> Any:
    if kind != "rain":
        raise UserError(f"there is no noise {kind!r}")
    return (clip * 10 ** (snr_db / 20)).astype(np.float32)


FAKE = Backend(answers, in_noise, ["rain", "<b>&amp;"], EXAMPLE, 2.5)


@contextmanager
def served(backend: Backend = FAKE) -> Iterator[Server]:
    """A server that answers, on a free port."""
    with listen_on(0) as listening:
        server = Server(backend, listening)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
