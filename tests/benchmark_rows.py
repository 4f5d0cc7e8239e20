"""Rows as the benchmarks publish them: their field names and forms, with content of our own."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from echodistill.gates.expect import Between, Expect
from echodistill.params.corpus import CorpusParams
from tests.corpus_params import corpus_params

Row = dict[str, Any]

MMAU: list[Row] = [
    {
        "id": f"6f-{number}",
        "audio_id": f"./test-mini-audios/6f-{number}.wav",
        "question": "Which chord follows the first one?",
        "choices": choices,
        "answer": answer,
        "dataset": "ours",
        "task": "music",
        "split": "test-mini",
        "category": ["Reasoning"],
        "sub-category": "Temporal",
        "difficulty": "easy",
    }
    for number, (choices, answer) in enumerate(
        [
            (["G", "A#", "D", "E"], "D"),  # a text that is another choice's letter
            (
                ["A minor", "G major", "F major"],
                "(C) F major",
            ),  # a letter, though the choices bear none
            (["1", "2", "0"], "0"),
            (["(A) Rain", "(B) Rattle"], "(B) Rattle"),
        ]
    )
]
MMAU_RIGHT = ["D", "F major", "0", "Rattle"]
MMAR: list[Row] = [
    {
        "id": f"vid{number // 2}_00-00-0{number}_00-00-09",
        "audio_path": f"./audio/vid{number // 2}_00-00-0{number}_00-00-09.wav",
        "question": "How many steps?",
        "choices": ["2", "3", "1", "4"],
        "answer": "1",
        "modality": "sound",
        "category": "Perception Layer",
        "sub-category": "Counting",
        "language": "en",
        "source": "ours",
        "url": f"https://example.org/vid{number // 2}",
        "timestamp": f"00:00:0{number},00:00:09",
    }
    for number in range(4)
]
MMSU: list[Row] = [
    {
        "id": f"stress_{number}",
        "task_name": "stress",
        "audio_path": f"/audio/stress_{number}.wav",
        "question": "Which word is stressed?",
        "choice_a": "tea",
        "choice_b": "green",
        "choice_c": "you",
        "choice_d": "want",
        "answer_gt": "want",
        "category": "Perception",
        "sub-category": "Linguistics",
        "sub-sub-category": "Phonology",
        "linguistics_sub_discipline": "Prosody",
    }
    for number in range(3)
]
AIR_BENCH: list[Row] = [
    {
        "path": "a.wav",
        "question": "Who speaks?",
        "choice_a": "male",
        "choice_b": "female",
        "choice_c": None,
        "choice_d": None,
        "answer_gt": "female",
        "task_name": "Speaker_Gender",
        "dataset_name": "ours",
        "uniq_id": 7,
    },
    {
        "path": "a.wav",
        "question": "When is the bell heard?",
        "choice_a": "[0, 2]",
        "choice_b": "[2, 4]",
        "choice_c": "[4, 6]",
        "choice_d": "[6, 8]",
        "answer_gt": "[4, 6]",
        "task_name": "Audio_Grounding",
        "dataset_name": "ours",
        "uniq_id": 7,
    },
]
AVQA: list[Row] = [
    {
        "id": 183 + number,
        "video_name": f"-HG{number // 2}_x_00003{number}",
        "video_id": number,
        "question_text": "What happened in the video?",
        "multi_choice": ["3", "2", "1", "0"],
        "answer": 1,  # an index, though it is a text of the choices, too
        "question_relation": "View",
        "question_type": "Happening",
        "dataset_name": "AVQA",
        "audio_path": f"Path to wav dir/-HG{number // 2}_x_3{number}.wav",
    }
    for number in range(4)
]
PROMPT = (
    "The fork is\nA. left\nB. right\nC. B\nD. A\nWhat is the answer to the above multiple choice"
    " question? Select one: A, B, C, or D."
)
VOICEBENCH: list[Row] = [{"prompt": PROMPT, "reference": letter} for letter in "ABCD"]
ECHODISTILL: list[Row] = [
    {
        "id": 100 * clip + noise,
        "prompt": (
            'What sound is it?\nChoices: "bell", "drum"\nPlease answer the question based on the'
            " audio."
        ),
        "noisy_audio_path": (
            f"noise/water/snr_{noise}/audio_noise/v{clip // 2}_00-00-0{clip}_00-00-09.wav"
        ),
        "clean_audio_path": f"audio/v{clip // 2}_00-00-0{clip}_00-00-09.wav",
        "choices": ["bell", "drum"] if clip % 2 else ["drum", "bell"],
        "target": "bell" if clip % 2 else "drum",  # always the first choice, as in the release
        "noise_type": "water",
        "snr": noise,
    }
    for clip in range(12)
    for noise in (-10, 0, 30)
]


def seen(count: int) -> list[Row]:
    """As in SEEN: Python text for the choices, a letter for the answer."""
    return [
        {
            "id": f"8c-{number}",
            "audio_id": f"../datasets/sound/clean/raw/{number:03d}.wav",
            "question": "What is heard, first of all?",
            "choices": str(["A. it's rain", "B. ['a', 'list']", "C. D", "D. C"]),
            "answer": "ABCD"[number % 4],
            "dataset": "ours",
            "task": "sound",
            "split": "test-mini",
            "category": "['Reasoning']",
            "sub-category": "Temporal",
            "difficulty": "hard",
        }
        for number in range(count)
    ]


SEEN_CHOICES = ("it's rain", "['a', 'list']", "D", "C")


def params_of(root: Path, source: str, manifest: str, **changes: object) -> CorpusParams:
    settings: dict[str, object] = {
        "source": source,
        "path": str(root),
        "manifest": manifest,
        "validation_share": 0.0,
        "decision_share": 0.0,
        "test_share": 0.4,
    }
    return corpus_params(**settings | {"min_duration_s": 0.1, "max_duration_s": 1.0} | changes)


def write_json(path: Path, rows: list[Row]) -> None:
    """Write a JSON list, or one row a line where the name ends in ``.jsonl``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = (
        "".join(json.dumps(row) + "\n" for row in rows)
        if path.suffix == ".jsonl"
        else json.dumps(rows, indent=1)
    )
    path.write_text(text, encoding="utf-8")


def write_csv(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(
    path: Path, column: str, rows: list[Row], recordings: list[bytes | None], rows_a_group: int = 2
) -> None:
    """Rows with their recordings in ``column``, as the hub keeps them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": content, "path": None} for content in recordings]
    audio = pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(
        pa.Table.from_pylist(rows).append_column(column, audio), path, row_group_size=rows_a_group
    )


def wav(number: int) -> bytes:
    """Half a second of noise, another one for each number."""
    buffer = io.BytesIO()
    soundfile.write(
        buffer, np.random.default_rng(number).uniform(-0.1, 0.1, 8_000), 16_000, format="WAV"
    )
    return buffer.getvalue()


def write_wavs(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(wav(number))


def offenders(checks: list[Expect], message: str) -> list[str]:
    """Names of the rows that break one expectation about numbers, judged without Great
    Expectations, which takes seconds.
    """
    (check,) = (check for check in checks if check.description.startswith(message))
    assert isinstance(check.rule, Between)
    low, high = check.rule.minimum, check.rule.maximum
    bad = (check.frame[check.column] < (low or 0)) | (
        check.frame[check.column] > (high if high is not None else float("inf"))
    )
    return list(check.frame[bad][check.id_column])
