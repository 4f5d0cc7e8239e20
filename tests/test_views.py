"""Tests of the teacher's view: the matched clip, its transcript or a control, the same for
references and for scores of rollouts.
"""

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echodistill.audio.levels import power
from echodistill.audio.mixing import draw
from echodistill.audio.recordings import NoiseLibrary
from echodistill.core.errors import UserError
from echodistill.core.records import Question
from echodistill.data.store import Corpus
from echodistill.params.references import ViewName
from echodistill.teachers.views import VIEWS, ShuffledView, shuffled
from echodistill.training.training_rows import TrainingRows


@given(st.integers(2, 50), st.integers(0, 1000))
def test_shuffled_clips_all_move_and_none_is_lost(count: int, seed: int) -> None:
    clips = [f"c{number}" for number in range(count)]
    moved = shuffled(clips, seed)
    assert Counter(moved) == Counter(clips)
    assert not [one for one, other in zip(clips, moved, strict=True) if one == other]
    assert shuffled(clips, seed) == moved


def test_a_single_clip_cannot_be_shuffled() -> None:
    with pytest.raises(UserError, match="two training clips"):
        shuffled(["only"], 1)


def test_each_control_is_what_it_states(tiny_corpus: Corpus) -> None:
    clips = [clip.clip_id for clip in tiny_corpus.clips_of("train")]
    for clip_id in clips:
        own = tiny_corpus.waveform(clip_id)
        assert VIEWS["clean"](tiny_corpus, 1).waveform(clip_id) is own
        assert not VIEWS["silence"](tiny_corpus, 1).waveform(clip_id).any()
        assert VIEWS["silence"](tiny_corpus, 1).waveform(clip_id).shape == own.shape
        noise = VIEWS["noise"](tiny_corpus, 1).waveform(clip_id)
        assert noise.shape == own.shape
        assert power(noise) == pytest.approx(power(own), rel=1e-5)
        assert abs(np.corrcoef(noise, own)[0, 1]) < 0.1
        other = ShuffledView(tiny_corpus, 1)
        assert np.array_equal(other.waveform(clip_id), tiny_corpus.waveform(other.partner(clip_id)))
        assert other.partner(clip_id) in set(clips) - {clip_id}


def test_no_two_views_share_an_address(tiny_corpus: Corpus) -> None:
    question = tiny_corpus.questions_of("train")[0]
    identities_of_views = {view(tiny_corpus, 1).cache_identity(question) for view in VIEWS.values()}
    assert len(identities_of_views) == len(VIEWS) == 5

    def identities(name: ViewName) -> set[str]:
        """Return the identities of a view with two seeds."""
        return {VIEWS[name](tiny_corpus, seed).cache_identity(question) for seed in (1, 2)}

    assert len(identities("noise")) == 2
    assert len(identities("silence")) == 1


@pytest.mark.parametrize("name", ["clean", "shuffled", "noise", "silence"])
def test_the_teacher_receives_it_when_it_judges_rollouts_too(
    tiny_corpus: Corpus, name: ViewName
) -> None:
    """Check that the view has the level of the student's view, and that the student receives its
    own clip.
    """
    clip = tiny_corpus.clips_of("train")[0]
    mix = draw(1, clip.clip_id, "train", "gauss", -20.0, 0, ())
    noise = NoiseLibrary(tiny_corpus.waveform)
    view = VIEWS[name](tiny_corpus, 1)
    (noisy,), (moved,), _ = TrainingRows(tiny_corpus, view, [mix], noise, {}, 0).prompts([0])
    rendered = noise.render(mix, tiny_corpus.waveform(clip.clip_id))
    assert noisy.waveform is not None
    assert np.array_equal(noisy.waveform, rendered.noisy)
    assert rendered.gain < 1.0
    assert moved.waveform == pytest.approx(rendered.gain * view.waveform(clip.clip_id), abs=1e-6)


def with_transcripts(corpus: Corpus, transcripts: Mapping[str, str | None]) -> Corpus:
    """A copy of the corpus in which some clips have another transcript."""
    changed = copy.copy(corpus)
    changed.clips = {
        name: replace(clip, transcript=transcripts.get(name, clip.transcript))
        for name, clip in corpus.clips.items()
    }
    return changed


def test_the_transcript_is_read_in_place_of_the_audio(tiny_corpus: Corpus) -> None:
    question = tiny_corpus.questions_of("train")[0]
    view = VIEWS["transcript"](tiny_corpus, 1)
    for gain in (1.0, 0.5):
        prompt = view.prompt(question, gain)
        assert prompt.waveform is None
        assert prompt.question == "Transcript: low\nWhich tone?"
        assert prompt.choices == question.choices
    mix = draw(1, question.clip_id, "train", "gauss", -20.0, 0, ())
    noise = NoiseLibrary(tiny_corpus.waveform)
    (noisy,), (read,), _ = TrainingRows(tiny_corpus, view, [mix], noise, {}, 0).prompts([0])
    assert noisy.waveform is not None
    assert read == prompt


def test_the_identity_of_a_transcript_is_its_text_alone(tiny_corpus: Corpus) -> None:
    first, second, third, other = tiny_corpus.questions_of("train")[:4]

    def identity(corpus: Corpus, question: Question, seed: int = 1) -> str:
        return VIEWS["transcript"](corpus, seed).cache_identity(question)

    assert identity(tiny_corpus, first) == identity(tiny_corpus, other, seed=2)  # both say "low"
    assert len({identity(tiny_corpus, each) for each in (first, second, third)}) == 3
    changed = with_transcripts(tiny_corpus, {first.clip_id: "lower"})
    assert identity(changed, first) != identity(tiny_corpus, first)


@pytest.mark.parametrize("missing", [None, "", "  "])
def test_a_missing_transcript_is_one_error_before_any_work(
    tiny_corpus: Corpus, missing: str | None
) -> None:
    lacking = with_transcripts(tiny_corpus, {"train-3": missing, "test-0": None})
    with pytest.raises(UserError, match=r"^references\.view: .* 1 question .* train-3-q for one: "):
        VIEWS["transcript"](lacking, 1)
    rows = TrainingRows(
        lacking,
        VIEWS["clean"](lacking, 1),
        [draw(1, "train-3", "train", "gauss", -20.0, 0, ())],
        NoiseLibrary(lacking.waveform),
        {},
        0,
    )
    with pytest.raises(UserError, match=r"needs `transcript` .* 1 have none, question train-3-q"):
        rows.check_fields({"transcript", "answer"})
    rows.check_fields({"answer"})
    VIEWS["transcript"](with_transcripts(tiny_corpus, {"test-0": None}), 1)  # nothing trains on it
