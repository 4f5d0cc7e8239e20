"""Tests of the built-in task families: their answers are worked out again here, and their splits
and ranges are those that the parameters state.
"""

import re
from collections import Counter

import numpy as np
import pytest

from echodistill.audio.backgrounds import BACKGROUNDS, background
from echodistill.core.seeds import rng
from echodistill.data.builtin import Espeak, read
from echodistill.data.sources import SourceClips
from echodistill.data.tasks import acoustic, reason
from echodistill.evaluation.given_answers import given_answer
from echodistill.models.prompts import worked_response
from tests.corpus_params import corpus_params

VALUES = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "nine": 9}
ANIMALS = {"cat", "dog", "horse", "bird", "fish", "cow"}


def expected(question: str, words: tuple[str, ...]) -> str:
    """Return the right answer by another computation than the product's."""
    if "animals" in question:
        return str(len([word for word in words if word in ANIMALS]))
    values = np.array([VALUES[word] for word in words])
    if "sum" in question:
        return str(values.cumsum()[-1])
    if "largest" in question:
        return str(np.sort(values)[-1])
    return " ".join(map(str, np.sort(values)))


@pytest.mark.parametrize("with_choices", [False, True])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_answers_solutions_and_choices_of_reasoning(count: int, with_choices: bool) -> None:
    questions: Counter[str] = Counter()
    for number in range(300):
        found = reason.draw(rng("test", number, count), count, with_choices, f"c{number}")
        questions[found.question] += 1
        assert len(found.words) == count
        assert found.answer == expected(found.question, found.words)
        # Each step of the solution is right, and the last one is the answer.
        steps = re.findall(r"(\w+): ([\d ]+\d|\d+)", found.solution)
        assert [result for _, result in steps] == [
            expected(found.question, found.words[: place + 1]) for place in range(count)
        ]
        assert given_answer(worked_response(found.solution, found.answer), found.choices) == (
            found.answer
        )
        assert len(found.choices) == (4 if with_choices else 0)
        if with_choices:
            assert len(set(found.choices)) == 4
            assert found.answer in found.choices
    assert set(questions) == {kind.question for kind in reason.KINDS}


def test_acoustic_questions_are_answered_by_the_sound_alone() -> None:
    asked: Counter[tuple[str, str]] = Counter()
    for number in range(400):
        found = acoustic.draw(rng("test", number), ("red", "cat"), "en+m1", ["en+f1"], f"c{number}")
        first, second = found.utterances
        asked[found.question, found.answer] += 1
        assert (first.text, second.text) == ("red", "cat")
        assert found.answer in found.choices
        if "higher" in found.question:
            assert found.answer == ("first" if first.pitch > second.pitch else "second")
            assert abs(first.pitch - second.pitch) >= 50
        elif "faster" in found.question:
            assert found.answer == ("first" if first.rate_wpm > second.rate_wpm else "second")
        elif "same speaker" in found.question:
            assert found.answer == ("yes" if first.voice == second.voice else "no")
        else:
            assert found.answer == found.background
        assert (found.background is not None) == ("background" in found.question)
    assert len(asked) == 2 + 2 + 2 + len(BACKGROUNDS)  # every answer occurs
    assert min(asked.values()) > 10


def test_a_speaker_without_others_is_never_changed() -> None:
    for number in range(100):
        found = acoustic.draw(rng("alone", number), ("red", "cat"), "en+m1", [], f"c{number}")
        assert {one.voice for one in found.utterances} == {"en+m1"}


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_backgrounds_have_unit_power_and_differ(name: str) -> None:
    sound = background(name, 16_000)
    assert sound.dtype == np.float32
    assert np.mean(np.square(sound, dtype=np.float64)) == pytest.approx(1.0, rel=1e-5)
    assert np.isfinite(sound).all()
    others = [background(other, 16_000) for other in BACKGROUNDS if other != name]
    spectrum = np.abs(np.fft.rfft(sound))
    for other in others:
        alike = np.corrcoef(spectrum, np.abs(np.fft.rfft(other)))[0, 1]
        assert alike < 0.6


def test_an_unknown_background_is_an_error() -> None:
    with pytest.raises(ValueError, match="rain"):
        background("rain", 10)


def ground(**changes: object) -> SourceClips:
    params = corpus_params(
        **{
            "tasks": {"recognise": 1, "reason": 2, "reason_choices": 1, "acoustic": 2},
            "clips": {"pretrain": 60, "train": 60, "validation": 20, "decision": 20, "test": 40},
            "reason_words": {"pretrain": [2, 2], "train": [2, 3], "evaluation": [3, 4]},
        }
        | changes
    )
    with Espeak() as espeak:
        found = read(params, 1, espeak)
        for clip in found.clips[::20]:
            waveform = clip.read()[0].waveform
            assert np.abs(waveform).max() <= 1.0
    return found


def test_the_clips_of_each_split_have_the_tasks_and_ranges_that_are_set() -> None:
    found = ground()
    tasks = Counter(clip.questions[0].task for clip in found.clips)
    assert set(tasks) == {"recognise", "reason", "reason_choices", "acoustic"}
    lengths: dict[str, set[int]] = {}
    for clip in found.clips:
        (question,) = clip.questions
        assert clip.transcript
        assert question.solution
        assert bool(clip.caption) == (question.task == "acoustic")
        assert bool(question.choices) == (question.task != "reason")
        if question.task.startswith("reason"):
            split = found.splits[clip.group]
            lengths.setdefault(split, set()).add(len(clip.transcript.split()))
    assert lengths["pretrain"] == {2}
    assert lengths["train"] == {2, 3}
    for split in ("validation", "decision", "test"):
        assert lengths[split] == {3, 4}


def test_pretraining_has_voices_of_its_own_and_leaves_the_other_splits_as_they_are() -> None:
    with_split, without = (
        ground(),
        ground(clips={"pretrain": 0, "train": 60, "validation": 20, "decision": 20, "test": 40}),
    )
    assert set(with_split.splits.values()) == {
        "pretrain",
        "train",
        "validation",
        "decision",
        "test",
    }
    for group, split in without.splits.items():
        now = with_split.splits[group]
        assert now == split or (split, now) == ("train", "pretrain")
    counts = Counter(with_split.splits.values())
    assert abs(counts["train"] - counts["pretrain"]) <= 1


BEFORE = (
    ("seven white", "Which word is first?", ("four", "seven", "two", "white"), "seven"),
    ("dog yellow", "Which word is first?", ("dog", "six", "yellow", "cow"), "dog"),
    ("nine blue", "Which word is first?", ("nine", "cow", "blue", "five"), "nine"),
)
"""The first training clips of seed 1, as they were drawn before there were other task families."""


def test_recognition_is_drawn_as_before_whether_other_families_exist_or_not() -> None:
    weights = {"reason": 0, "reason_choices": 0, "acoustic": 0}
    alone = ground(
        tasks={"recognise": 1} | weights,
        clips={"pretrain": 0, "train": 60, "validation": 20, "decision": 20, "test": 40},
    )
    drawn = [
        (clip.transcript, one.question, one.choices, one.answer)
        for clip in alone.clips[: len(BEFORE)]
        for one in clip.questions
    ]
    assert drawn == list(BEFORE)
    first = {clip.clip_id: clip for clip in alone.clips}
    both = [clip for clip in ground().clips if clip.questions[0].task == "recognise"]
    shared = [clip for clip in both if clip.clip_id in first]
    assert shared
    assert all(clip.transcript == first[clip.clip_id].transcript for clip in shared)
