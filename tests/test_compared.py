"""The comparison's gates and its top figures: each expectation met by good artifacts and broken by
one fault.
"""

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echodistill.audio.mixing import Mix, draw
from echodistill.core.records import Answer, GridRow, write_rows
from echodistill.evaluation.budget import budget_of
from echodistill.evaluation.headline import curve_points, top_figures
from echodistill.evaluation.many_systems import System, table_of
from echodistill.gates.compare import compared_answers_checks, students_checks, table_checks
from echodistill.gates.expect import Expect
from echodistill.gates.runner import validate
from echodistill.params.compare import CompareParams, SystemParams
from tests.answers import answer
from tests.test_evidence import SETTINGS, scored, system

COMPARISON = CompareParams(
    seeds=(1, 2, 3),
    train=("grpo", "echodistill"),
    controls=("silence",),
    systems=(SystemParams(name="silence", label="silence", set={"references.view": "silence"}),),
    denoisers=("wavelet",),
    folds=(),
)
NAMES = [f"{name}-{seed}" for name in COMPARISON.trained for seed in COMPARISON.seeds]


def failed(checks: list[Expect]) -> dict[str, tuple[str, ...]]:
    """What is not met, with the rows that offend."""
    return {
        result.description: result.ids
        for result in validate("it", checks, None).results
        if not result.passed
    }


def students(folder: Path) -> Path:
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        (folder / name / "run.json").write_text(json.dumps({"steps": 2, "fingerprint": name}))
        rows = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.4}]
        (folder / name / "metrics.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows)
        )
    return folder


def test_whole_trainings_of_one_length_pass(tmp_path: Path) -> None:
    assert failed(students_checks(students(tmp_path), COMPARISON)) == {}


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("run.json", {"steps": 3, "fingerprint": "x"}, "equally many steps"),
        ("run.json", {"steps": 3, "fingerprint": "x"}, "every step of every training"),
        ("run.json", {"steps": 2, "fingerprint": "grpo-1"}, "the same training"),
        ("metrics.jsonl", {"step": 1, "loss": math.nan}, "finite"),
    ],
)
def test_a_student_that_is_not_like_the_others_is_named(
    tmp_path: Path, file: str, content: dict[str, Any], message: str
) -> None:
    (students(tmp_path) / "echodistill-2" / file).write_text(json.dumps(content) + "\n")
    (found,) = [
        ids
        for text, ids in failed(students_checks(tmp_path, COMPARISON)).items()
        if message in text
    ]
    assert "echodistill-2" in found


def answers_of(folder: Path) -> tuple[Path, Path]:
    mixes: list[Mix] = [
        draw(1, clip, "test", kind, snr, 0, ())
        for clip in ("a", "b")
        for kind, snr in (("clean", None), ("wind", -5.0), ("wind", 20.0))
    ]
    (folder / "mixes").mkdir()
    write_rows(folder / "mixes/mixes.parquet", Mix, mixes)
    write_rows(
        folder / "mixes/grid.parquet",
        GridRow,
        [GridRow(mix.mix_id, f"q-{mix.clip_id}") for mix in mixes],
    )
    rows = [
        answer(mix.mix_id, f"q-{mix.clip_id}", mix.noise_kind, mix.snr_db, "red") for mix in mixes
    ]
    loud = [row for row in rows if row.snr_db != 20.0]
    (folder / "answers").mkdir()
    for name in [*NAMES, "text"]:
        write_rows(folder / f"answers/{name}.parquet", Answer, rows)
    for model in ("base", "student"):
        write_rows(folder / f"answers/wavelet-{model}.parquet", Answer, loud)
    return folder / "answers", folder / "mixes"


@pytest.mark.parametrize("fault", ["none", "missing", "twice", "elsewhere", "cut"])
def test_answers_are_whole(tmp_path: Path, fault: str) -> None:
    answers, mixes = answers_of(tmp_path)
    path = answers / "grpo-2.parquet"
    from echodistill.core.records import read_rows

    rows = read_rows(path, Answer)
    changed = {
        "none": rows,
        "missing": rows[1:],
        "twice": [*rows, rows[0]],
        "elsewhere": [
            *rows[:-1],
            answer(rows[-1].mix_id, rows[-1].question_id, "rain", 20.0, "red"),
        ],
        "cut": [replace(rows[0], truncated=True, response_tokens=9), *rows[1:]],
    }[fault]
    write_rows(path, Answer, changed)
    failures = failed(compared_answers_checks(answers, mixes, COMPARISON, 0.0, 0.02, 1))
    words = {
        "missing": "answered every question",
        "twice": "answered anything twice",
        "elsewhere": "names the noise",
        "cut": "length limit",
    }
    assert len(failures) == (fault != "none")
    for text, ids in failures.items():
        assert words[fault] in text
        assert ids == (("grpo-2: 1 of 6 cut at 9 tokens",) if fault == "cut" else ("grpo-2",))


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    steady = scored("constant", 0.3)
    steady.agrees_self[:] = ~steady.noisy.unparsed
    systems = [
        system("base", 0.4, 1),
        system("text", 0.3, 1),
        System("constant", (steady,)),
        system("grpo", 0.5),
        system("echodistill", 0.7),
        system("silence", 0.4),
    ]
    made = table_of(
        systems, [("grpo", "base"), ("echodistill", "base"), ("echodistill", "grpo")], SETTINGS, 1
    )
    interval = {"value": 0.5, "low": 0.4, "high": 0.6}
    denoised = {"systems": {"wavelet + base": {"acc": interval}}}
    distortions = {"reverb": {"conditions": [{"severity": 0.5, "base": dict(interval)}]}}
    return made | {"budget": {}, "denoised": denoised, "distortions": distortions}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ((), None, ""),
        (("systems", "text"), None, "has its row"),
        (("systems", "grpo", "acc", "seeds"), 2, "every seed"),
        (("systems", "grpo", "acc@20", "low"), 1.5, "within its interval"),
        (("differences", "grpo - base", "gsr", "value"), math.nan, "within its interval"),
        (("systems", "base", "unparsed", "value"), 1.2, "within 0 and 1"),
        (("systems", "grpo", "acc_forced_norm"), None, "within 0 and 1"),
        (("systems", "text", "clean_acc_forced", "value"), -0.1, "within 0 and 1"),
        (("differences", "grpo - base", "test", "p_holm"), -0.1, "makes a p smaller"),
        (("systems", "constant", "gsr", "value"), 0.9, "agrees with itself"),
        (("denoised", "systems", "wavelet + base", "acc", "high"), math.nan, "within its interval"),
        (("distortions", "reverb", "conditions", 0, "base", "low"), 0.9, "within its interval"),
    ],
)
def test_figures_can_be_true(
    tmp_path: Path, table: dict[str, Any], path: tuple[Any, ...], value: Any, message: str
) -> None:
    broken = copy.deepcopy(table)
    if path:
        *outer, last = path
        node = broken
        for part in outer:
            node = node[part]
        if value is None:
            del node[last]
        else:
            node[last] = value
    (tmp_path / "compare.json").write_text(json.dumps(broken))
    failures = failed(table_checks(tmp_path / "compare.json", COMPARISON))
    assert any(message in text for text in failures) if message else not failures


def test_top_figures_and_curves_are_those_of_the_table(table: dict[str, Any]) -> None:
    top = top_figures(table)
    assert set(top) == {*table["systems"], *table["differences"]}
    assert top["echodistill"]["gsr"] == table["systems"]["echodistill"]["gsr"]["value"]
    assert (
        top["echodistill - grpo"]["acc"]
        == table["differences"]["echodistill - grpo"]["acc"]["value"]
    )
    points = {(row["system"], row["snr_db"]): row for row in curve_points(table)}
    assert len(points) == 6 * 3
    found, wanted = points["grpo", -10.0], table["systems"]["grpo"]["noisy@-10"]
    assert (found["noisy"], found["noisy_low"], found["noisy_high"]) == (
        wanted["value"],
        wanted["low"],
        wanted["high"],
    )


def test_a_budget_is_the_mean_of_the_seeds() -> None:
    sampling = [
        [{"sampled_tokens": 90.0, "target_tokens": 20.0}] * 4,
        [{"sampled_tokens": 110.0, "target_tokens": 20.0}] * 4,
    ]
    assert budget_of(sampling, 24) == {
        "steps": 4,
        "prompts": 96,
        "sampled_tokens": 400,
        "target_tokens": 80,
    }
    assert budget_of([[{"target_tokens": 30.0}]], 8)["sampled_tokens"] == 0


def test_a_constant_answer_that_names_two_choices_is_steady_all_the_same(
    tmp_path: Path, table: dict[str, Any]
) -> None:
    """ "C" is the text of one choice and the letter of another: such a question counts as
    disagreement.
    """
    other = copy.deepcopy(table)
    for metric, rate in (("gsr", 0.8), ("unparsed", 0.2)):
        other["systems"]["constant"][metric] |= {"low": rate, "value": rate, "high": rate}
    (tmp_path / "compare.json").write_text(json.dumps(other))
    assert failed(table_checks(tmp_path / "compare.json", COMPARISON)) == {}
