"""Tests of the teacher's view: the matched clip or a control, the same for references and for
scores of rollouts.
"""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echodistill.audio.levels import power
from echodistill.audio.mixing import draw
from echodistill.audio.recordings import NoiseLibrary
from echodistill.core.errors import UserError
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
    kinds: tuple[ViewName, ...] = ("clean", "shuffled", "noise", "silence")
    assert len({VIEWS[name](tiny_corpus, 1).cache_identity(question) for name in kinds}) == 4

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
    (noisy,), (moved,) = TrainingRows(tiny_corpus, view, [mix], noise, {}, 0).prompts([0])
    rendered = noise.render(mix, tiny_corpus.waveform(clip.clip_id))
    assert noisy.waveform is not None
    assert np.array_equal(noisy.waveform, rendered.noisy)
    assert rendered.gain < 1.0
    assert moved.waveform == pytest.approx(rendered.gain * view.waveform(clip.clip_id), abs=1e-6)
