"""A folder in SEEN's layout that lacks a tenth of its recordings, from the corpus to the verdict
and the report's page.
"""

import html
import json
from dataclasses import replace
from pathlib import Path

import pytest

from echodistill.core.errors import UserError
from echodistill.core.records import SPLITS, Quarantined, read_rows
from echodistill.params.whole import Params
from echodistill.reports.page import Page, render
from echodistill.stages.gate import gate
from tests import benchmark_rows as b
from tests.test_benchmark_corpus import make, params_of
from tests.test_page import page as page

ROWS = 120
MISSING = range(0, ROWS, 10)
NAMES = [f"clip [{number}].wav" for number in range(ROWS)]


@pytest.fixture
def a_tenth_missing(tmp_path: Path) -> Path:
    """``metadata.csv`` with id, audio_id, question, choices and answer; twelve of its 120
    recordings are not there.
    """
    root = tmp_path / "seen"
    choices = str(["A. rain", "B. a crowd", "C. a siren"])
    rows = [
        {
            "id": f"s{number}",
            "audio_id": name,
            "question": "What is heard?",
            "choices": choices,
            "answer": "ABC"[number % 3],
        }
        for number, name in enumerate(NAMES)
    ]
    b.write_wavs(root, *NAMES)
    for number in MISSING:
        (root / NAMES[number]).unlink()
    b.write_csv(root / "metadata.csv", rows)
    return root


def settings(root: Path, share: float) -> Params:
    return params_of(root, "seen", "metadata.csv", max_quarantined_share=share)


def test_the_run_continues_with_the_rest_and_names_every_missing_clip(
    a_tenth_missing: Path, tmp_path: Path, page: Page
) -> None:
    params = settings(a_tenth_missing, 0.1)
    made = make(params, tmp_path / "corpus")
    assert sorted(made.clips) == sorted(
        name for number, name in enumerate(NAMES) if number not in MISSING
    )
    assert {clip.split for clip in made.clips.values()} == set(SPLITS)
    assert {row.choices for row in made.questions.values()} == {("rain", "a crowd", "a siren")}
    assert made.questions["s5"].answer == "a siren"

    gate(params, "corpus", tmp_path / "reports/gates/corpus.json", tmp_path / "corpus")
    verdict = json.loads((tmp_path / "reports/gates/corpus.json").read_text(encoding="utf-8"))
    assert verdict["passed"]
    wanted = [
        (f"metadata.csv:{number + 2} (id s{number})", f"no such audio file: {NAMES[number]}")
        for number in MISSING
    ]
    assert verdict["notes"] == [f"{row}: {reason}" for row, reason in wanted]

    text = html.unescape(
        render(
            replace(
                page, quarantined=read_rows(tmp_path / "corpus/quarantine.parquet", Quarantined)
            )
        )
    )
    assert f"{len(MISSING)} rows of the corpus were quarantined" in text
    for row, reason in wanted:
        assert f'<th scope="row">{row}</th><td>{reason}</td>' in text
    assert text.count("no such audio file") == len(MISSING)


def test_where_fewer_may_be_missing_the_run_stops_and_states_the_cure(
    a_tenth_missing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        make(settings(a_tenth_missing, 0.09), tmp_path / "corpus")
    assert (
        str(caught.value)
        == "12 of 120 rows of seen are bad, more than corpus.max_quarantined_share = 0.09 allows:"
        " fix these rows, or allow more. 12 without their recording: put it below corpus.path"
        " (of a test's own source corpus.test.path). .echodistill/quarantined.txt lists them all"
    )
    assert not (tmp_path / "corpus").exists()
    assert len((tmp_path / ".echodistill/quarantined.txt").read_text().splitlines()) == 12
