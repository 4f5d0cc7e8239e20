"""Transcripts that a manifest gives: kept with the clips, and used by the pre-training of a base
where they are there.
"""

import copy
import math
from dataclasses import replace
from pathlib import Path

import echodistill.models.torchaudio_guard  # noqa: F401

import pytest
import torch
from transformers import TrainingArguments

from echodistill.data.store import Corpus
from echodistill.models.audio_llm import AudioLLM
from echodistill.training.pretrain import PretrainExamples, _Pretrainer, words_of
from tests.folders import ROW, only_question, read_csv, read_jsonl, write_recordings
from tests.test_held_out_groups import make
from tests.test_pretrain import SETTINGS
from tests.test_separate_test_source import rows_of, write_folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_recordings(tmp_path)


@pytest.mark.parametrize("name", ["transcript", "Transcript", " TRANSCRIPT "])
def test_a_transcript_is_kept_with_the_clip(root: Path, name: str) -> None:
    for read in (read_jsonl, read_csv):
        found = read(
            root, ROW | {name: "it is raining"}, ROW | {"id": "q2", "audio_path": "b", name: ""}
        )
        assert [clip.transcript for clip in found.clips] == ["it is raining", None]


@pytest.mark.parametrize("missing", [None, "", "nan", math.nan, "N/A", []])
def test_one_row_of_a_recording_may_give_it(root: Path, missing: object) -> None:
    found = read_jsonl(
        root,
        ROW | {"transcript": missing},
        ROW | {"id": "q2", "transcript": "yes"},
        ROW | {"id": "q3"},
    )
    assert [(clip.transcript, len(clip.questions)) for clip in found.clips] == [("yes", 3)]


def test_two_transcripts_of_one_recording(root: Path) -> None:
    found = read_jsonl(root, ROW | {"transcript": "yes"}, ROW | {"id": "q2", "transcript": "no"})
    assert [row.reason for row in found.quarantined] == [
        "the recording has another transcript in a row before: give it one"
    ]
    assert (
        "field 'transcript' is a list"
        in read_jsonl(root, ROW | {"transcript": ["yes"]}).quarantined[0].reason
    )
    assert only_question(read_jsonl(root, ROW)).answer == "blue"


def test_the_corpus_holds_it(tmp_path: Path) -> None:
    write_folder(
        tmp_path / "raw",
        [row | ({"transcript": f"word {n}"} if n % 2 else {}) for n, row in enumerate(rows_of(12))],
    )
    clips = make(tmp_path / "raw", tmp_path / "out").clips
    assert [clips[f"{number}.wav"].transcript for number in range(4)] == [
        None,
        "word 1",
        None,
        "word 3",
    ]


@pytest.mark.parametrize(
    ("transcript", "words"),
    [
        ("one two", ["one", "two"]),
        ("One, TWO!", ["one", "two"]),
        ("it's - fine.", ["it's", "fine"]),
        ("?!", []),
        ("  ", []),
    ],
)
def test_words_are_what_is_spoken(transcript: str, words: list[str]) -> None:
    assert words_of(transcript) == words


def loss_of(
    llm: AudioLLM, corpus: Corpus, known: set[str], weight: float, out: Path, share: float = 0.0
) -> tuple[float, bool]:
    """The loss of the first step where only the transcripts of ``known`` are there, and whether
    there is a head for words.
    """
    torch.manual_seed(0)
    llm = replace(llm, model=copy.deepcopy(llm.model))
    corpus.clips = {
        name: replace(clip, transcript=clip.transcript if name in known else None)
        for name, clip in corpus.clips.items()
    }
    settings = SETTINGS.model_copy(update={"steps": 1, "batch": 8, "transcript_share": share})
    options = TrainingArguments(
        output_dir=str(out), use_cpu=True, report_to=[], remove_unused_columns=False
    )
    trainer = _Pretrainer(llm, PretrainExamples(corpus, settings, 1), corpus, weight, args=options)
    return float(trainer.compute_loss(trainer.model, list(range(8))).detach()), hasattr(
        trainer.model, "ctc"
    )


def test_the_transcripts_that_are_there_help(
    tiny_llm: AudioLLM, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    data = PretrainExamples(tiny_corpus, SETTINGS.model_copy(update={"steps": 1, "batch": 8}), 1)
    asked = [data.example(number).question.clip_id for number in range(8)]
    others = {clip.clip_id for clip in tiny_corpus.clips_of("train")} - set(asked)
    every = others | set(asked)

    def loss(known: set[str], weight: float = 0.5) -> tuple[float, bool]:
        return loss_of(tiny_llm, Corpus(tiny_corpus.folder), known, weight, tmp_path)

    without = loss(every, 0.0)
    assert without == loss(set())
    assert not without[1]
    assert loss(every)[0] > without[0] + 0.1
    assert loss({asked[0]})[0] > without[0] + 0.1  # one clip of the batch is enough
    assert loss(others) == (pytest.approx(without[0]), True)


def test_a_batch_that_is_read_has_no_loss_on_the_encoder(
    tiny_llm: AudioLLM, tiny_corpus: Corpus, tmp_path: Path
) -> None:
    every = {clip.clip_id for clip in tiny_corpus.clips_of("train")}
    plain, weighted = (
        loss_of(tiny_llm, Corpus(tiny_corpus.folder), every, weight, tmp_path, share=1.0)[0]
        for weight in (0.0, 0.5)
    )
    assert plain == weighted
    assert 0 < plain < 100
