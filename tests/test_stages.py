"""Tests of stages in one process: bad input is quarantined and counted, killed work resumes, and
errors are one line.
"""

import dataclasses
import errno
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import soundfile
import yaml

from echodistill.core.errors import UserError
from echodistill.core.records import Clip, Quarantined, Reference, read_rows, write_rows
from echodistill.data import encoding
from echodistill.data.sources import SourceFailed
from echodistill.data.store import Corpus
from echodistill.inference.resumable import Item, answer_items
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.base import Prompt
from echodistill.params.whole import Params
from echodistill.stages import corpus as corpus_stage
from echodistill.stages import mixes as mixes_stage
from echodistill.stages import references as references_stage
from echodistill.stages.entry import arguments_of, params_view, run_stage
from tests.conftest import WORDS, tone
from tests.test_pipeline import ROOT


def params_of(**sections: dict[str, Any]) -> Params:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name, changes in sections.items():
        raw[name] |= changes
    return Params.model_validate(raw)


def folder_of(tmp_path: Path, good: int = 12) -> Path:
    """A source folder with ``good`` sound clips in as many groups."""
    folder = tmp_path / "raw"
    folder.mkdir()
    rows = []
    for number in range(good):
        soundfile.write(folder / f"{number}.wav", tone(WORDS[number % 3], number), 16_000)
        rows.append(
            {
                "id": f"c{number}",
                "audio_path": f"{number}.wav",
                "question": "Which?",
                "choices": list(WORDS),
                "answer": WORDS[number % 3],
            }
        )
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def add_row(folder: Path, **row: Any) -> None:
    whole = {
        "id": "bad",
        "audio_path": "bad.wav",
        "question": "Which?",
        "choices": list(WORDS),
        "answer": "low",
    } | row
    with (folder / "manifest.jsonl").open("a") as file:
        file.write(json.dumps(whole) + "\n")


def make(folder: Path, out: Path, **changes: Any) -> Corpus:
    params = params_of(corpus={"source": "folder", "path": str(folder)} | changes)
    corpus_stage.corpus(params_view(params, ("seed", "corpus", "prompt.style")), out)
    return Corpus(out)


def test_the_corpus_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    make(folder, tmp_path / "a")
    make(folder, tmp_path / "b")
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


BAD: dict[str, Any] = {
    "missing": (lambda path: None, "no such audio file"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "text": (lambda path: path.write_text("hello"), "not an audio file"),
    "silent": (lambda path: soundfile.write(path, np.zeros(8_000), 16_000), "silent"),
    "constant": (lambda path: soundfile.write(path, np.full(8_000, 0.3), 16_000), "silent"),
    "page": (lambda path: path.write_text("<!DOCTYPE html><html>"), "web page (HTML)"),
    "pointer": (
        lambda path: path.write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
        ),
        "Git LFS pointer",
    ),
    "voice message": (
        lambda path: path.write_bytes(b"#!AMR\n" + bytes(99)),
        "convert it: `ffmpeg -i",
    ),
    "pipe": (lambda path: os.mkfifo(path), "a named pipe (FIFO)"),
    "folder": (lambda path: path.mkdir(), "a folder, not a recording"),
    "short": (lambda path: soundfile.write(path, np.full(100, 0.1), 16_000), "min_duration_s"),
    "long": (
        lambda path: soundfile.write(path, np.full(64_000, 0.1), 16_000),
        "longer than the allowed 1.2 s (corpus.max_duration_s)",
    ),
    "nan": (
        lambda path: soundfile.write(path, np.full(8_000, np.nan), 16_000, subtype="FLOAT"),
        "NaN",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_clip_is_quarantined_with_its_reason(kind: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    spoil, reason = BAD[kind]
    spoil(folder / "bad.wav")
    add_row(folder)
    made = make(folder, tmp_path / "out")
    assert len(made.clips) == 12
    (row,) = read_rows(tmp_path / "out/quarantine.parquet", Quarantined)
    assert reason in row.reason


def test_a_duplicate_id_and_an_unknown_answer_are_quarantined(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, good=40)
    add_row(folder, id="c0", audio_path="1.wav")
    add_row(folder, id="c99", audio_path="1.wav", answer="purple")
    make(folder, tmp_path / "out")
    reasons = [row.reason for row in read_rows(tmp_path / "out/quarantine.parquet", Quarantined)]
    assert len(reasons) == 2
    assert any("purple" in reason for reason in reasons)


def test_a_source_that_fails_stops_the_stage_and_quarantines_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path)
    monkeypatch.setattr(
        encoding,
        "dbfs",
        lambda _waveform: (_ for _ in ()).throw(SourceFailed("the synthesiser died")),
    )
    with pytest.raises(SourceFailed, match="the synthesiser died"):
        make(folder, tmp_path / "out", max_quarantined_share=1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_every_question_of_a_bad_clip_is_counted(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, good=40)
    (folder / "bad.wav").write_bytes(b"")
    for number in range(3):
        add_row(folder, id=f"bad{number}", question=f"Which, number {number}?")
    made = make(folder, tmp_path / "out")
    assert len(made.questions) == 40
    assert (
        len({row.row for row in read_rows(tmp_path / "out/quarantine.parquet", Quarantined)}) == 3
    )


@pytest.mark.parametrize("writer", ["safetensors", "torch"])
def test_a_full_disk_under_a_models_writer_is_one_error(writer: str, tmp_path: Path) -> None:
    """These raise errors of their own, no OSError. The disk's end is simulated by the largest file
    this process may write.
    """
    code = (
        "import resource, signal, sys, torch; from pathlib import Path\n"
        "from echodistill.core.atomic import atomic_path\n"
        "from echodistill.core.errors import UserError\n"
        "from safetensors.torch"
        " import save_file\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        " resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\nsave = {'safetensors':"
        " lambda t, p: save_file({'t': t}, p), 'torch': torch.save}[sys.argv[1]]\ntry:\n    with"
        " atomic_path(Path('model.bin')) as temporary: save(torch.zeros(1_000_000),"
        " temporary)\nexcept UserError as error: print('UserError', error)\n"
    )
    command = [sys.executable, "-c", code, writer]
    found = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith("UserError cannot write model.bin: ")
    assert not list(tmp_path.iterdir())


def test_too_much_that_is_bad_stops_and_leaves_nothing(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, good=5)
    add_row(folder)
    with pytest.raises(UserError, match=r"1 of 6 rows of folder is bad.*max_quarantined_share"):
        make(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_full_disk_is_one_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path)

    def full(*_args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(corpus_stage.ShardWriter, "add", full)
    with pytest.raises(UserError, match=r"No space left.*[Ff]ree space"):
        make(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_an_unwritable_place_is_one_error(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        make(folder, tmp_path / "file" / "out")


def test_damaged_audio_is_noticed(tmp_path: Path) -> None:
    made = make(folder_of(tmp_path), tmp_path / "out")
    shard = tmp_path / "out/audio-00000.tar"
    content = bytearray(shard.read_bytes())
    clip = next(iter(made.clips.values()))
    content[clip.offset + clip.size // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        Corpus(tmp_path / "out").waveform(clip.clip_id)


def test_mixes_are_the_same_bytes_each_time(tmp_path: Path, tiny_corpus: Corpus) -> None:
    params = params_view(params_of(mixes={"snrs_db": [0], "train_draws": 2}), ("seed", "mixes"))
    for name in ("a", "b"):
        mixes_stage.mixes(params, tmp_path / name, tiny_corpus.folder)
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_stage_cannot_read_parameters_it_does_not_declare() -> None:
    view = params_view(params_of(), ("seed", "mixes.kinds"))
    assert view.seed == 1
    assert view.mixes.kinds
    with pytest.raises(AttributeError):
        _ = view.corpus
    with pytest.raises(AttributeError):
        _ = view.mixes.snrs_db


def test_only_a_stage_that_works_on_workers_is_given_their_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    (tmp_path / "params.yaml").write_text(
        yaml.safe_dump(raw | {"workers": {"address": "tcp://host:8786"}})
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["stage", "out"])
    given: list[tuple[Path, str]] = []

    def stage(_params: Params, out: Path, address: str = "none given") -> None:
        given.append((out, address))

    run_stage(stage, ("seed",), on_workers=True)
    run_stage(stage, ("seed",))
    assert given == [(Path("out"), "tcp://host:8786"), (Path("out"), "none given")]


def test_arguments_are_read_by_a_stages_own_signature() -> None:
    def judge(
        _params: Params,
        part: Literal["left"] | Literal["right", "up"],
        seed: int,
        out: Path,
        *against: Path,
    ) -> None: ...

    assert arguments_of(judge, ["right", "7", "a/b", "c", "d"]) == [
        "right",
        7,
        Path("a/b"),
        Path("c"),
        Path("d"),
    ]
    usage = r"usage: judge left\|right\|up SEED OUT AGAINST \.\.\.$"
    with pytest.raises(UserError, match=f"^'middle' is none of them. {usage}"):
        arguments_of(judge, ["middle", "7", "a", "b"])
    with pytest.raises(UserError, match=f"^invalid literal for int.*'x'. {usage}"):
        arguments_of(judge, ["left", "x", "a", "b"])
    with pytest.raises(UserError, match=f"^{usage}"):
        arguments_of(judge, ["left", "7", "a"])

    stages = {path.stem for path in (ROOT / "echodistill/stages").glob("*.py")} - {
        "__init__",
        "entry",
    }
    for name in sorted(stages):
        stage = getattr(importlib.import_module(f"echodistill.stages.{name}"), name)
        with pytest.raises(UserError, match=rf"^usage: {name} \S"):
            arguments_of(stage, [])

    def plain(_params: Params, out: Path, address: str | None = None) -> None: ...

    assert arguments_of(plain, ["a"]) == [Path("a")]
    with pytest.raises(UserError, match=r"^usage: plain OUT$"):
        arguments_of(plain, ["a", "b"])


def test_warm_references_need_no_model_call(
    tmp_path: Path, tiny_corpus: Corpus, tiny_llm: AudioLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    tiny_llm.save(base)
    (base / "base.json").write_text(json.dumps({"revision": "r1"}))
    monkeypatch.setenv("ECHODISTILL_CACHE", str(tmp_path / "cache"))
    params = params_view(
        params_of(generation={"max_new_tokens": 3}), ("seed", "generation", "references")
    )
    references_stage.references(params, tmp_path / "cold", tiny_corpus.folder, base)
    monkeypatch.setattr(
        "echodistill.teachers.folder.generate_targets",
        lambda *_args, **_options: pytest.fail("the model was asked"),
    )
    references_stage.references(params, tmp_path / "warm", tiny_corpus.folder, base)
    for name in ("references.parquet", "distributions.safetensors"):
        assert (tmp_path / "cold" / name).read_bytes() == (tmp_path / "warm" / name).read_bytes()


@pytest.mark.parametrize(
    ("transcript", "message"),
    [
        (
            None,
            r"^references\.view: .* 1 question has none, question train-0-q for one: fill it in",
        ),
        (
            "low <|AUDIO|>",
            r"^the prompt of question train-0-q holds '<\|AUDIO\|>', a control token",
        ),
        ("a low tone", ""),
    ],
)
def test_a_teacher_that_reads_makes_references_from_transcripts(
    transcript: str | None,
    message: str,
    tmp_path: Path,
    tiny_corpus: Corpus,
    tiny_llm: AudioLLM,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Equal words make one reference, whatever the clips; what is missing is told before the model
    is opened.
    """
    monkeypatch.setenv("ECHODISTILL_CACHE", str(tmp_path / "cache"))
    base, corpus = tmp_path / "base", tmp_path / "corpus"
    corpus.mkdir()
    shutil.copy(tiny_corpus.folder / "questions.parquet", corpus)
    clips = tiny_corpus.clips | {
        "train-0": dataclasses.replace(tiny_corpus.clips["train-0"], transcript=transcript)
    }
    write_rows(corpus / "clips.parquet", Clip, clips.values())
    if transcript:
        tiny_llm.save(base)
        (base / "base.json").write_text(json.dumps({"revision": "r1"}))
    read: dict[str, Any] = {
        "references": {"view": "transcript"},
        "generation": {"max_new_tokens": 3},
    }
    params = params_of(base={"model": "org/model"}, **read)
    arguments = (
        params_view(params, ("seed", "generation", "references")),
        tmp_path / "out",
        corpus,
        base,
    )
    if message:
        with pytest.raises(UserError, match=message):
            references_stage.references(*arguments)
        return
    references_stage.references(*arguments)
    rows = read_rows(tmp_path / "out/references.parquet", Reference)
    assert len(rows) == 18
    keys = {row.question_id: row.key for row in rows}
    assert len(set(keys.values())) == 9 + 1  # three words, three orders of the choices, and one
    assert keys["train-0-q"] not in {key for name, key in keys.items() if name != "train-0-q"}


def test_killed_answering_continues_where_it_stopped(
    tmp_path: Path, tiny_llm: AudioLLM, tiny_corpus: Corpus
) -> None:
    asked: list[str] = []

    def item(clip_id: str) -> Item:
        def prompt() -> Prompt:
            asked.append(clip_id)
            return Prompt(tiny_corpus.waveform(clip_id), "Which?", WORDS)

        return Item(f"{clip_id}/clean", f"{clip_id}-q", "clean", None, prompt)

    items = [item(f"test-{number}") for number in range(6)]
    journal = tmp_path / "answers.jsonl"
    whole = answer_items(tiny_llm, items, tmp_path / "whole.jsonl", 2, 3, lambda _done: None)
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:2]) + lines[2][:15])  # the kill cut a line
    asked.clear()
    assert answer_items(tiny_llm, items, journal, 2, 3, lambda _done: None) == whole
    assert asked == ["test-2", "test-3", "test-4", "test-5"]
    changed = lines[1].replace('"choice_log_probs": [-', '"choice_log_probs": [-9')
    assert changed != lines[1]
    journal.write_text("".join([lines[0], changed, *lines[2:]]))  # it changed by itself
    asked.clear()
    assert answer_items(tiny_llm, items, journal, 2, 3, lambda _done: None) == whole
    assert asked == ["test-0", "test-1"]
