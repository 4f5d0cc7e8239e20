"""Tests of the examples of pre-training: mild coloured noise of no particular kind, and towards the
end noise alone.
"""

import copy
from dataclasses import replace

import numpy as np
import pytest

from echodistill.audio.levels import SAMPLE_RATE
from echodistill.audio.noises import coloured
from echodistill.data.store import Corpus
from echodistill.params.base import NanoParams
from echodistill.training.pretrain import PretrainExamples

SETTINGS = NanoParams(
    width=48,
    encoder_layers=1,
    decoder_layers=1,
    steps=50,
    batch=20,
    learning_rate=1e-3,
    ctc_weight=0.5,
    min_snr_db=10,
    max_snr_db=40,
    noise_only_share=0.5,
    transcript_share=0.0,
)


@pytest.mark.parametrize("slope_db", [-6.0, -3.0, 0.0])
def test_coloured_noise_falls_by_its_slope_an_octave(slope_db: float) -> None:
    noise = coloured(np.random.default_rng(1), 60 * SAMPLE_RATE, slope_db)
    density = np.abs(np.fft.rfft(noise)) ** 2
    hz = np.fft.rfftfreq(noise.size, 1.0 / SAMPLE_RATE)
    octaves = [
        density[(hz >= low) & (hz < 2 * low)].mean() for low in (100, 200, 400, 800, 1600, 3200)
    ]
    falls_db = np.diff(10.0 * np.log10(octaves))
    assert falls_db == pytest.approx(np.full(5, slope_db), abs=0.3)


def test_all_clips_are_audible_at_first_and_the_given_share_is_not_later(
    tiny_corpus: Corpus,
) -> None:
    data = PretrainExamples(tiny_corpus, SETTINGS, 1)
    audible = [data.example(number).audible for number in range(len(data))]
    assert all(audible[:600])
    assert 0.4 < np.mean(audible[600:]) < 0.6


def test_an_audible_clip_is_at_a_mild_snr_and_an_inaudible_one_is_not_there(
    tiny_corpus: Corpus,
) -> None:
    data = PretrainExamples(tiny_corpus, SETTINGS, 1)
    for number in range(560, 700):
        example = data.example(number)
        assert example.prompt.waveform is not None
        clean = tiny_corpus.waveform(example.question.clip_id).astype(np.float64)
        received = example.prompt.waveform.astype(np.float64)
        correlation = float(clean @ received / np.sqrt((clean @ clean) * (received @ received)))
        # at 10 dB the clip has 10 of 11 parts of the power
        assert correlation > np.sqrt(10 / 11) - 0.02 if example.audible else abs(correlation) < 0.5


def test_an_example_depends_on_its_number_alone(tiny_corpus: Corpus) -> None:
    once, again = (PretrainExamples(tiny_corpus, SETTINGS, 1) for _ in range(2))
    again.example(3)
    first, second = once.example(700).prompt.waveform, again.example(700).prompt.waveform
    assert first is not None
    assert second is not None
    assert first.tobytes() == second.tobytes()


def test_a_share_of_the_batches_is_read_and_the_rest_is_as_without(tiny_corpus: Corpus) -> None:
    audio_only = PretrainExamples(tiny_corpus, SETTINGS, 1)
    data = PretrainExamples(tiny_corpus, SETTINGS.model_copy(update={"transcript_share": 0.4}), 1)
    examples = [data.example(number) for number in range(len(data))]
    read = np.array([example.prompt.waveform is None for example in examples]).reshape(50, 20)
    assert (read == read[:, :1]).all()  # a batch has audio in all rows or in none
    assert 0.25 < read.mean() < 0.55
    for number, example in enumerate(examples):
        transcript = tiny_corpus.clips[example.question.clip_id].transcript
        if example.prompt.waveform is None:
            assert example.prompt.question == f"Transcript: {transcript}\nWhich tone?"
            assert not example.audible
            continue
        before = audio_only.example(number).prompt.waveform
        assert before is not None
        assert before.tobytes() == example.prompt.waveform.tobytes()
    assert data.example(7).prompt.question == examples[7].prompt.question


def test_a_clip_without_a_transcript_is_given_as_audio(tiny_corpus: Corpus) -> None:
    known = {f"train-{number}" for number in range(3)}
    corpus = copy.copy(tiny_corpus)
    corpus.clips = {
        name: replace(clip, transcript=clip.transcript if name in known else None)
        for name, clip in tiny_corpus.clips.items()
    }
    settings = SETTINGS.model_copy(update={"transcript_share": 1.0})
    data = PretrainExamples(corpus, settings, 1)
    assert {data.example(number).question.clip_id for number in range(40)} == known
    corpus.clips = {name: replace(clip, transcript="") for name, clip in corpus.clips.items()}
    assert PretrainExamples(corpus, settings, 1).example(0).prompt.waveform is not None
