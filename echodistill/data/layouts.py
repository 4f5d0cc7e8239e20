"""Convert the rows of published benchmarks to the fields of the source ``folder``.

Names and shapes were read in the repositories and cards that each function names; ``test_only``
follows what the authors publish the benchmark for. A row's fields are given by lower-case name,
without empty ones.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from echodistill.data.answers import AnswersAs
from echodistill.data.manifest import Fields, RowError

ColumnNames = tuple[str, ...]
CHOICE_COLUMNS: ColumnNames = ("choice_a", "choice_b", "choice_c", "choice_d")
SPOKEN = "Which choice answers the question asked in the recording?"


@dataclass(frozen=True)
class Layout:
    """The layout of one benchmark's rows."""

    manifests: tuple[str, ...]
    """Published names of the benchmark's files below the folder, for error messages."""
    answer_field: str
    answers: AnswersAs
    """How the answers are written: this reading is preferred where an answer can be read in two
    ways.
    """
    test_only: bool
    """Whether the benchmark is published for testing: all its rows are then test rows, unless
    ``corpus.benchmark_rows`` is ``split``.
    """
    to_folder: Callable[[Fields, str], Fields]
    """Function that converts a row and its place to the fields of ``folder``. Raises
    ``RowError``.
    """
    exact_paths: bool = False
    """Whether recordings are only at the path in the row; otherwise the path's first folders, which
    are the publisher's own, may be missing.
    """
    remark: str = ""
    """Text for the user that is printed when the benchmark is read."""


def _picked(fields: Fields, **names: str) -> Fields:
    """Return the fields that the values of ``names`` name, under its keys. Raise ``RowError`` where
    one is missing.
    """
    if lacking := [name for name in names.values() if name not in fields]:
        raise RowError(f"no field {lacking[0]!r}")
    return {target: fields[name] for target, name in names.items()}


def _lettered_choices(fields: Fields) -> Fields:
    """Return the columns ``choice_a`` .. ``choice_d`` that are present; the last ones may be
    empty.
    """
    return {name: fields[name] for name in CHOICE_COLUMNS if name in fields}


def _mmau(fields: Fields, _place: str) -> Fields:
    """Convert a row of MMAU (arXiv 2410.19168) in either published form.

    JSON list (github.com/Sakshi113/MMAU, mmau-test-mini.json): ``id``, ``audio_id``
    ("./test-mini-audios/ID.wav"), ``question``, ``choices``, ``answer`` (a choice's text; in some
    rows "(A) text" although the choices have no letters), ``dataset``, ``task``, ``split``
    ("test-mini"), ``category``, ``sub-category``, ``difficulty``. Parquet (hub,
    gamma-lab-umd/MMAU-test-mini, of 2025-05-15): ``context`` (the recording), ``instruction``,
    ``choices`` and ``answer`` ("(A) text"), ``other_attributes`` (JSON text with ``id`` and the
    other fields). The answers of the 9,000 rows of ``test`` are not published. No field names
    recordings that belong together.
    """
    if "other_attributes" not in fields:
        return _picked(
            fields,
            id="id",
            audio_path="audio_id",
            question="question",
            choices="choices",
            answer="answer",
        )
    row = fields | _json_object(fields["other_attributes"], "other_attributes")
    return _picked(
        row,
        id="id",
        audio_path="context",
        question="instruction",
        choices="choices",
        answer="answer",
    )


def _json_object(value: Any, name: str) -> dict[str, Any]:
    try:
        parsed = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise RowError(f"field {name!r} is not valid JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise RowError(f"field {name!r} holds no JSON object")
    return parsed


def _mmar(fields: Fields, _place: str) -> Fields:
    """Convert a row of MMAR (arXiv 2505.13032; hub BoJack/MMAR, MMAR-meta.json, a list;
    github.com/ddlBoJack/MMAR adds a .jsonl).

    The fields are ``id``, ``audio_path`` ("./audio/ID.wav"), ``question``, ``choices``, ``answer``
    (a text), ``modality``, ``category``, ``sub-category``, ``language``, ``source``, ``url``,
    ``timestamp``. Clips of one ``url`` are cut from one video and form a group.
    """
    row = _picked(
        fields,
        id="id",
        audio_path="audio_path",
        question="question",
        choices="choices",
        answer="answer",
    )
    return row | ({"group": fields["url"]} if "url" in fields else {})


def _mmsu(fields: Fields, _place: str) -> Fields:
    """Convert a row of MMSU (arXiv 2506.04779; github.com/dingdongwang/MMSU_Bench,
    mmsu_inference.py; hub ddwang2000/MMSU).

    The fields are ``id``, ``task_name``, ``audio_path`` ("/audio/ID.wav"; in the hub's parquet the
    recording itself, ``audio``), ``question``, ``choice_a`` .. ``choice_d``, ``answer_gt`` (a
    choice's text), ``category``, ``sub-category``, ``sub-sub-category``,
    ``linguistics_sub_discipline``. No field names the speaker.
    """
    recording = "audio" if "audio" in fields else "audio_path"
    return _picked(
        fields, id="id", audio_path=recording, question="question", answer="answer_gt"
    ) | _lettered_choices(fields)


def _air_bench(fields: Fields, _place: str) -> Fields:
    """Convert a row of AIR-Bench, foundation part (arXiv 2402.07729; github.com/OFA-Sys/AIR-Bench,
    Inference_Foundation.py; Foundation_meta.json).

    The fields are ``uniq_id``, ``path``, ``question``, ``choice_a`` .. ``choice_d`` (two to four),
    ``answer_gt`` (a choice's text), ``task_name``, ``dataset_name``. The recording is
    TASK_DATASET/PATH, with the ending .flac for the task Audio_Grounding. Tasks may share a
    recording of a source data set, so a group is that data set's file.
    """
    row = _picked(
        fields, id="uniq_id", question="question", answer="answer_gt"
    ) | _lettered_choices(fields)
    where = _picked(fields, path="path", task="task_name", dataset="dataset_name")
    path, folder = str(where["path"]), f"{where['task']}_{where['dataset']}"
    if where["task"] == "Audio_Grounding":
        path = f"{path[:-3]}flac"
    return row | {
        "id": f"{folder}-{row['id']}",
        "audio_path": f"{folder}/{path}",
        "group": f"{where['dataset']}/{where['path']}",
    }


def _avqa(fields: Fields, _place: str) -> Fields:
    """Convert a row of AVQA as R1-AQA trains on it (arXiv 2503.11197;
    github.com/xiaomi-research/r1-aqa, README.md and src/dataset/dataset.py).

    Each line is one JSON object: ``id``, ``video_name`` (the video's id, "_" and its second in six
    digits), ``question_text``, ``multi_choice``, ``answer`` (a number from 0),
    ``question_relation``, ``question_type``, ``dataset_name``, ``audio_path``. The original lists
    (train_qa.json, val_qa.json) lack the last two; the recording is then found by ``video_name``.
    As in R1-AQA, "video" in a question is replaced by "audio". Clips of one video form a group.
    """
    row = _picked(
        fields,
        id="id",
        question="question_text",
        choices="multi_choice",
        answer="answer",
        group="video_name",
    )
    video = str(row["group"])
    return row | {
        "question": str(row["question"]).replace("video", "audio"),
        "audio_path": fields.get("audio_path", video),
        "group": re.sub(r"_[0-9]{6}$", "", video),
    }


def _voicebench(fields: Fields, place: str) -> Fields:
    """Convert a row of VoiceBench's multiple choice parts openbookqa and mmsu (arXiv 2410.17196;
    hub hlt-lab/voicebench, parquet).

    The fields are ``audio`` (the recording: question and choices read aloud), ``prompt`` (their
    text, with choices as lines "A. .."), ``reference`` (the letter). A row has no id, so its place
    is used. The benchmark gives voice assistants no text. Here the choices are given as text, as
    for every question, but the question is not, since it could then be answered without the
    recording. The figures are therefore not comparable with a leaderboard's.
    """
    row = _picked(
        fields,
        audio_path="audio" if "audio" in fields else "audio_path",
        prompt="prompt",
        answer="reference",
    )
    choices = re.findall(r"^([A-Z])\. *(\S.*?) *$", str(row.pop("prompt")), re.MULTILINE)
    if (
        "".join(letter for letter, _ in choices) != "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(choices)]
        or len(choices) < 2
    ):
        raise RowError("field 'prompt' has no choices in lines 'A. ..', 'B. ..'")
    return row | {"id": place, "question": SPOKEN, "choices": [text for _, text in choices]}


def _echodistill(fields: Fields, _place: str) -> Fields:
    """Convert a row of EchoDistill's own release (arXiv 2605.23954;
    github.com/xishu-Design/echodistill, DATASET_CARD.md, train.jsonl, val.jsonl).

    The fields are ``id``, ``prompt`` (question, a line "Choices: ..", a request),
    ``noisy_audio_path``, ``clean_audio_path``, ``choices``, ``target`` (a choice's text),
    ``noise_type``, ``snr``. A question occurs once for each noise; noises are drawn here instead,
    so the clean recording is read and the question kept once (``benchmarks``). Both files hold the
    same clips, so they are split anew, by video, whose id begins a recording's name
    (ID_00-00-05_00-00-12.wav).
    """
    row = _picked(
        fields,
        id="id",
        audio_path="clean_audio_path",
        question="prompt",
        choices="choices",
        answer="target",
    )
    stem = re.sub(r"\.[a-z0-9]+$", "", str(row["audio_path"]).rpartition("/")[2])
    question = re.split(r"\n\s*Choices:", str(row["question"]))[0]
    return row | {"question": question, "group": re.sub(r"_[0-9-]+_[0-9-]+$", "", stem)}


def _seen(fields: Fields, _place: str) -> Fields:
    """Convert a row of SEEN (arXiv 2601.07331; github.com/jyutian/SEEN, datasets/sound, music and
    speech; Qwen/get_acc.py).

    The fields of ``metadata.csv`` are ``id``, ``audio_id`` ("../datasets/sound/clean/raw/000.wav",
    relative to a neighbouring folder), ``question``, ``choices`` (Python text, "A. .."), ``answer``
    (a letter), and MMAU's other fields. Noisy copies are in noise/KIND/snr_DB/audio_noise; noises
    are drawn here instead, so the clean recording is read. The published rows are MMAU's test-mini
    and stay test rows; a user's own rows in this layout are split by their ``split`` column, or at
    random without one.
    """
    row = _picked(
        fields,
        id="id",
        audio_path="audio_id",
        question="question",
        choices="choices",
        answer="answer",
    )
    row |= {
        name: fields[name] for name in ("group", "speaker", "split", "transcript") if name in fields
    }
    return row | ({"split": "test"} if str(row.get("split", "")).startswith("test") else {})


LAYOUTS: Mapping[str, Layout] = {
    "mmau": Layout(("mmau-test-mini.json",), "answer", "text", True, _mmau),
    "mmar": Layout(("MMAR-meta.json", "MMAR-meta.jsonl"), "answer", "text", True, _mmar),
    "mmsu": Layout(("question/mmsu.jsonl", "data/*.parquet"), "answer_gt", "text", True, _mmsu),
    "air-bench": Layout(
        ("Foundation_meta.json",), "answer_gt", "text", True, _air_bench, exact_paths=True
    ),
    "avqa": Layout(("train_qa.json",), "answer", "number", False, _avqa),
    "voicebench": Layout(
        ("openbookqa/*.parquet", "mmsu/*.parquet"), "reference", "letter", True, _voicebench
    ),
    "echodistill": Layout(
        ("*.jsonl",),
        "target",
        "text",
        False,
        _echodistill,
        remark=(
            "recordings are named as MMAR's are, so MMAR is no fair test for what is trained on"
            " them"
        ),
    ),
    "seen": Layout(("metadata.csv",), "answer", "letter", False, _seen),
}
