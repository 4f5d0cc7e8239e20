"""Asking about one clip: the noise it is put in is that of the test, at the level asked for."""

import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from echodistill.audio.levels import power
from echodistill.core.errors import UserError
from echodistill.data.store import Corpus
from echodistill.inference.asked_clip import read_clip
from echodistill.inference.single_clip import answer, in_noise
from echodistill.models.audio_llm import AudioLLM
from tests.conftest import tone
from tests.noise_cases import write_procedural


@pytest.fixture
def mixes(tmp_path: Path) -> Path:
    write_procedural(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("kind", "snr_db"), [("gauss", -5.0), ("crowd", 10.0), ("wind", 0.0)])
def test_the_clip_is_put_in_noise_at_the_level_asked_for(
    tiny_corpus: Corpus, mixes: Path, kind: str, snr_db: float
) -> None:
    clip = 0.05 * tone("low", "asked")  # quiet enough that nothing is scaled down
    noisy = in_noise(clip, kind, snr_db, tiny_corpus.folder, mixes)
    assert 10 * np.log10(power(clip) / power(noisy - clip)) == pytest.approx(snr_db, abs=0.1)
    assert np.array_equal(noisy, in_noise(clip, kind, snr_db, tiny_corpus.folder, mixes))


def test_an_unknown_noise_is_reported_with_those_there_are(
    tiny_corpus: Corpus, mixes: Path
) -> None:
    with pytest.raises(UserError, match=r"no noise 'hum': .* was drawn with gauss, crowd, wind"):
        in_noise(tone("low", 1), "hum", 0.0, tiny_corpus.folder, mixes)


def test_a_silent_clip_has_no_level_to_put_noise_against(tiny_corpus: Corpus, mixes: Path) -> None:
    with pytest.raises(UserError, match="the clip is silent"):
        in_noise(np.zeros(8_000, np.float32), "gauss", 0.0, tiny_corpus.folder, mixes)


def test_an_answer_is_a_choice_or_states_that_it_names_none(tiny_llm: AudioLLM) -> None:
    response = answer(tiny_llm, tone("low", 1), "Which?", ("low", "middle", "high"), 3)
    assert response in ("low", "middle", "high") or response.startswith("(names no choice)")
    assert not answer(tiny_llm, tone("low", 1), "Which?", (), 3).startswith("(names no choice)")


@pytest.mark.parametrize("choices", [(), ("low", "high")])
def test_an_empty_answer_is_named_as_such(
    choices: tuple[str, ...], tiny_llm: AudioLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echodistill.inference.single_clip.decode", lambda *_: " ")
    given = answer(tiny_llm, tone("low", 1), "Which?", choices, 3)
    assert given == "(the model gave an empty answer)"


class Piped:
    """Standard input that another program writes to, or a terminal."""

    def __init__(self, content: bytes, terminal: bool = False) -> None:
        self.buffer = io.BytesIO(content)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_clip_is_read_from_standard_input_or_a_pipe_as_from_its_file(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, pipe = tmp_path / f"clip.{form.lower()}", tmp_path / "pipe"
    soundfile.write(file, tone("low", 1), 16_000, format=form)
    expected = read_clip(file)
    monkeypatch.setattr("sys.stdin", Piped(file.read_bytes()))
    assert np.array_equal(read_clip(Path("-")), expected)
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(file.read_bytes(),))
    writer.start()
    assert np.array_equal(read_clip(pipe), expected)
    writer.join()


@pytest.mark.parametrize(
    ("piped", "message"),
    [
        (Piped(b""), "standard input: the file is empty"),
        (Piped(b"no audio at all"), "standard input: not an audio file"),
        (
            Piped(b"", terminal=True),
            "-: standard input is no recording: name a file, or pipe one in",
        ),
        (None, "-: standard input is no recording"),
    ],
)
def test_what_is_no_clip_on_standard_input_is_reported(
    piped: Piped | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", piped)
    with pytest.raises(UserError, match=f"^{message}"):
        read_clip(Path("-"))
