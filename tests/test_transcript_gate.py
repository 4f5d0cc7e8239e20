"""The gate of the corpus judges transcripts where there are any."""

from dataclasses import replace
from pathlib import Path

import pytest

from echodistill.core.records import Clip, Question
from echodistill.gates.runner import validate
from echodistill.gates.transcripts import transcript_checks
from tests.conftest import write_corpus


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Clip], list[Question]]:
    folder: Path = tmp_path_factory.mktemp("corpus") / "corpus"
    corpus = write_corpus(folder, {"train": 12})
    return list(corpus.clips.values()), list(corpus.questions.values())


def test_without_transcripts_nothing_is_expected(
    rows: tuple[list[Clip], list[Question]],
) -> None:
    clips, questions = rows
    assert not transcript_checks([replace(clip, transcript=None) for clip in clips], questions)


@pytest.mark.parametrize(
    "text", ["middle high low", "low, middle", "low", "internationalisation of it", "低い"]
)
def test_words_that_may_be_spoken_pass(text: str, rows: tuple[list[Clip], list[Question]]) -> None:
    clips, questions = rows
    clips = [replace(clips[0], transcript=text), *clips[1:]]
    verdict = validate("corpus", transcript_checks(clips, questions), docs=None)
    assert verdict.passed, verdict.text


def test_a_few_clips_may_have_equal_transcripts(rows: tuple[list[Clip], list[Question]]) -> None:
    clips, questions = rows
    few = [
        replace(clip, transcript="low" if number < 9 else None) for number, clip in enumerate(clips)
    ]
    assert validate("corpus", transcript_checks(few, questions), docs=None).passed
