"""`echodistill compare` in a small project, from nothing to the page; then with nothing to do, and
with one seed more.
"""

import json
from pathlib import Path

import pytest

from tests.projects import small_project
from tests.team import clean_environment, run

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
SMALL = (
    "-S",
    "compare.train=[distill, echodistill]",
    "-S",
    "compare.controls=[silence]",
    "-S",
    "compare.denoisers=[wavelet]",
)


def test_a_comparison_from_nothing_to_the_page(tmp_path: Path) -> None:
    small_project(tmp_path)
    environment = clean_environment(tmp_path)
    output = run(
        tmp_path, environment, "echodistill", "compare", *SMALL, "-S", "compare.seeds=[1]"
    ).stdout
    assert "echodistill - silence" in output
    table = json.loads((tmp_path / "reports/compare.json").read_text())
    assert set(table["systems"]) == {
        "base",
        "text",
        "constant",
        "distill",
        "echodistill",
        "silence",
    }
    assert table["systems"]["constant"]["gsr"]["value"] == 1.0
    assert table["systems"]["text"]["gsr"]["value"] == 1.0  # the same answer for every clip
    assert {"wavelet + base", "wavelet + student"} <= set(table["denoised"]["systems"])
    page = (tmp_path / "reports/index.html").read_text()
    assert "broken" in page  # the recording that is none is named
    unparsed = (tmp_path / "reports/unparsed_answers.csv").read_text().splitlines()
    assert f"<p>{len(unparsed) - 1:,} of" in page
    runs = {
        name: json.loads((tmp_path / f"models/compared/{name}-1/run.json").read_text())
        for name in ("echodistill", "silence")
    }
    assert runs["echodistill"]["fingerprint"] != runs["silence"]["fingerprint"]
    assert runs["echodistill"]["steps"] == runs["silence"]["steps"]
    again = run(
        tmp_path, environment, "echodistill", "compare", *SMALL, "-S", "compare.seeds=[1]"
    ).stdout
    assert "Running stage" not in again
    assert (tmp_path / "reports/index.html").read_text() == page
    more = run(
        tmp_path, environment, "echodistill", "compare", *SMALL, "-S", "compare.seeds=[1, 2]"
    ).stdout
    assert "train@distill-2" in more
    assert "Running stage 'comparison/dvc.yaml:train@distill-1'" not in more
    assert (
        json.loads((tmp_path / "reports/compare.json").read_text())["systems"]["echodistill"][
            "acc"
        ]["seeds"]
        == 2
    )
