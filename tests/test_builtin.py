"""Tests of the embedded corpus: real speech, and the same bytes in every process and order."""

from pathlib import Path

import numpy as np
import pytest

from echodistill.audio.kinds import KINDS
from echodistill.audio.noises import PROCEDURAL
from echodistill.core.records import SPLITS
from echodistill.data.builtin import ACCENTS, VARIANTS, WORDS, Espeak, read, voice_names
from echodistill.data.sources import SourceFailed, split_groups
from echodistill.params.corpus import CorpusParams
from tests.corpus_params import corpus_params


def params_of(**changes: object) -> CorpusParams:
    return corpus_params(
        **{"clips": {"train": 12, "validation": 4, "decision": 6, "test": 8}} | changes
    )


def test_clips_do_not_depend_on_the_order_they_are_spoken_in() -> None:
    with Espeak() as espeak:
        clips = read(params_of(), 1, espeak).clips
        forward = {clip.clip_id: clip.read() for clip in clips}
    with Espeak() as espeak:
        backward = {
            clip.clip_id: clip.read() for clip in reversed(read(params_of(), 1, espeak).clips)
        }
    for clip_id, (decoded, digest) in forward.items():
        assert digest == backward[clip_id][1]
        assert np.array_equal(decoded.waveform, backward[clip_id][0].waveform)


def test_a_dead_synthesiser_is_no_clips_fault() -> None:
    with Espeak() as espeak:
        for process in espeak._processes:
            process.kill()
            process.wait()
        with pytest.raises(SourceFailed, match="espeak-ng process failed"):
            espeak.synthesize("red", "en", 170, 50)


@pytest.mark.parametrize("length", [0, 60, 94, 120, 160, 240])
@pytest.mark.parametrize("letters", ["x", "ü", "你", "a b", "q?'$%"])
def test_the_synthesiser_gives_the_same_bytes_wherever_it_is_installed(
    length: int, letters: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone may lie below a long path, and one of any letters."""
    import espeakng_loader

    with Espeak() as espeak:
        expected = espeak.synthesize("yellow horse", "en+m3", 170, 50)[0]
    folder = tmp_path
    while len(str(folder).encode()) < len(str(tmp_path)) + length:
        folder = folder / (letters * 20)[:20]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "espeakng_loader").symlink_to(
        Path(espeakng_loader.__file__).parent, target_is_directory=True
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    with Espeak() as espeak:
        assert np.array_equal(espeak.synthesize("yellow horse", "en+m3", 170, 50)[0], expected)


def test_clips_sound_and_fit_the_default_window() -> None:
    with Espeak() as espeak:
        for clip in read(params_of(), 1, espeak).clips:
            waveform = clip.read()[0].waveform
            assert 0.2 < len(waveform) / 16_000 < 1.3
            assert 0.1 < np.abs(waveform).max() < 1.0


def test_no_speaker_is_in_two_splits_and_test_speakers_are_many() -> None:
    with Espeak() as espeak:
        found = read(params_of(), 1, espeak)
    split_of = {clip.clip_id: found.splits[clip.group] for clip in found.clips}
    assert all(clip_id.startswith(split) for clip_id, split in split_of.items())
    assert sum(split == "test" for split in found.splits.values()) >= 10


def test_voices_are_all_known_to_the_synthesiser() -> None:
    """espeak-ng takes an unknown variant for its base voice without a word, which would put one
    speaker into every split.
    """
    import espeakng_loader

    known = {path.name for path in Path(espeakng_loader.get_data_path(), "voices", "!v").iterdir()}
    assert set(VARIANTS) <= known
    assert len(set(voice_names(1))) == len(voice_names(1))
    with Espeak() as espeak:
        spoken = {
            accent: espeak.synthesize("yellow horse", accent, 170, 50)[0].tobytes()
            for accent in ACCENTS
        }
    assert len(set(spoken.values())) == len(ACCENTS)


def test_right_answers_stand_everywhere_and_wrong_ones_are_wrong() -> None:
    with Espeak() as espeak:
        clips = read(
            params_of(clips={"train": 400, "validation": 1, "decision": 1, "test": 1}), 1, espeak
        ).clips
    places = [clip.questions[0].choices.index(clip.questions[0].answer) for clip in clips]
    assert max(np.bincount(places)) < 0.4 * len(places)
    for clip in clips:
        (question,) = clip.questions
        words = (clip.transcript or "").split()
        right = {
            "What is said?": " ".join(words),
            "Which word is first?": words[0],
            "Which word is second?": words[1],
        }
        assert question.answer == right[question.question]
        assert len(set(question.choices)) == 4
        assert set(" ".join(question.choices).split()) <= set(WORDS)


def drawn(groups: int, **shares: float) -> dict[str, str]:
    """The split of each of so many groups, by the shares that are given and others of 0.1, 0.12 and
    0.25.
    """
    settings = {"validation_share": 0.1, "decision_share": 0.12, "test_share": 0.25} | shares
    return split_groups([f"g{number}" for number in range(groups)], corpus_params(**settings), 1)


@pytest.mark.parametrize(
    ("groups", "test", "decision", "validation"),
    [
        *((1, 0, 0, 0), (2, 1, 0, 0), (3, 1, 0, 0), (4, 1, 1, 0), (5, 2, 1, 0)),
        *(
            (6, 2, 1, 1),
            (7, 2, 1, 1),
            (8, 2, 1, 1),
            (9, 3, 2, 1),
            (10, 3, 2, 1),
            (19, 5, 3, 1),
            (20, 5, 3, 2),
            (40, 10, 5, 4),
        ),
    ],
)
def test_few_groups_still_leave_an_unseen_test(
    groups: int, test: int, decision: int, validation: int
) -> None:
    splits = list(drawn(groups).values())
    assert (splits.count("test"), splits.count("decision"), splits.count("validation")) == (
        test,
        decision,
        validation,
    )
    assert splits.count("train") == groups - test - decision - validation >= 1


def test_a_validation_share_of_nothing_is_not_rounded_up() -> None:
    assert "validation" not in drawn(8, validation_share=0.0).values()
    assert list(drawn(8, validation_share=0.01).values()).count("validation") == 1


def test_other_shares_leave_the_groups_of_the_test_as_they_are() -> None:
    def tested(splits: dict[str, str]) -> set[str]:
        return {group for group, split in splits.items() if split == "test"}

    assert (
        tested(drawn(40))
        == tested(drawn(40, decision_share=0.0))
        == tested(drawn(40, validation_share=0.3))
    )
    assert "decision" not in drawn(40, decision_share=0.0).values()


def test_the_decision_has_speakers_of_its_own() -> None:
    with Espeak() as espeak:
        found = read(params_of(), 1, espeak)
    groups = {
        split: {clip.group for clip in found.clips if clip.clip_id.startswith(split)}
        for split in SPLITS
    }
    assert {
        split: len([clip for clip in found.clips if clip.clip_id.startswith(split)])
        for split in SPLITS
    } == {
        "train": 12,
        "validation": 4,
        "decision": 6,
        "test": 8,
    }
    assert not groups["decision"] & (groups["train"] | groups["validation"] | groups["test"])
    assert all(found.splits[group] == "decision" for group in groups["decision"])


def test_by_default_the_decision_has_ten_speakers() -> None:
    with Espeak() as espeak:
        splits = list(read(corpus_params(), 1, espeak).splits.values())
    assert splits.count("decision") == 10


def test_every_kind_has_a_noise() -> None:
    assert set(KINDS) == {*PROCEDURAL, "crowd"}
