"""Tests of the report's page: charts, sentences, audio, and valid HTML."""

import io
import math
import re
import xml.etree.ElementTree as ElementTree
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echodistill.core.records import Quarantined
from echodistill.evaluation.domains import by_domain
from echodistill.params.evaluate import EvaluateParams
from echodistill.reports.audio_examples import draw_examples
from echodistill.reports.charts import Series, bars, heat_map, line_chart, nice_range
from echodistill.reports.compare_table import headings, kinds_table, print_comparison, system_rows
from echodistill.reports.page import Page, headline, render
from echodistill.reports.sentences import points
from echodistill.reports.spectrogram import BANDS, png, spectrogram
from tests.answers import units_of
from tests.made_up_page import KINDS, QUESTIONS, answers, made_up_page


def test_examples_are_of_both_kinds_and_one_a_clip() -> None:
    base, student = answers({0: "red", 1: "red"}), answers({2: "red", 3: "red", 4: "red", 5: "A."})
    found = draw_examples(base, student, QUESTIONS, 0.0, 1, 3)
    assert [one.outcome for one in found] == ["fixed"] * 3 + ["broken"] * 2
    fixed = [one for one in found if one.outcome == "fixed"]
    assert {one.question.question_id for one in fixed} <= {"q2", "q3", "q4", "q5"}
    assert len({one.question.clip_id for one in fixed}) == 3
    assert {one.noise_kind for one in fixed} == set(KINDS)
    assert {one.question.question_id for one in found if one.outcome == "broken"} == {"q0", "q1"}
    assert all((one.snr_db, one.clean) == (0.0, "red") for one in found)
    assert draw_examples(base, student, QUESTIONS, 0.0, 1, 3) == found
    assert draw_examples(base, base, QUESTIONS, 0.0, 1, 3) == []


def test_domains_are_questions_of_one_wording() -> None:
    settings = EvaluateParams(
        headline_max_snr_db=0.0, bootstrap_draws=200, confidence=0.95, student=None
    )
    asked = {
        name: replace(one, question="Which?" if name < "q5" else "What?")
        for name, one in QUESTIONS.items()
    }
    ((name, value, low, high),) = by_domain(
        answers({0: "red", 1: "red"}), asked, units_of(asked.values()), 0.0, settings, 1
    )
    assert (name, value) == ("Which?", pytest.approx(40.0))
    assert 0.0 <= low < 40.0 < high <= 100.0


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_axes_have_round_numbers_around_all_values(low: float, span: float) -> None:
    first, last, step = nice_range(low, low + span)
    assert first <= low + 1e-6
    assert last >= low + span - 1e-6
    assert 1 <= (last - first) / step <= 9
    alone = nice_range(round(low), round(low))
    assert alone[0] <= round(low) <= alone[1]
    assert alone[0] < alone[1]
    assert re.fullmatch(r"[125]", f"{step:.0e}"[0])


def test_a_line_goes_through_its_points() -> None:
    series = [
        Series(
            "a & b", (-10, 0, 30), (20.0, 60.0, 100.0), (10.0, 50.0, 95.0), (30.0, 70.0, 100.0), 1
        )
    ]
    svg, legend = re.split(
        r"(?<=</svg>)(?=<ul)", line_chart("title <so>", "SNR (dB)", "%", series, (-10, 0, 30))
    )
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == "title <so>"
    (line,) = root.findall("polyline")
    places = [tuple(map(float, place.split(","))) for place in line.attrib["points"].split()]
    across = [x for x, _ in places]
    assert (across[1] - across[0]) / (across[2] - across[0]) == pytest.approx(0.25, abs=0.01)
    up = [y for _, y in places]
    assert up[0] - up[1] == pytest.approx(up[1] - up[2], abs=0.2)
    assert len(root.findall("polygon[@class='band s1']")) == 1
    assert "a &amp; b" in legend
    ElementTree.fromstring(legend)


def test_a_heat_map_is_a_table_with_the_numbers() -> None:
    table = ElementTree.fromstring(
        heat_map("noise", ["0 dB", "5 dB"], [("rain", [10.0, -5.0]), ("<x>", [None, 0.0])], 10.0)
    )
    cells = [
        [
            (cell.text, cell.attrib.get("class"), cell.attrib.get("style"))
            for cell in row.findall("td")
        ]
        for row in table.iter("tr")
    ]
    assert cells[1] == [("+10", "gain", "--v:100%"), ("-5", "loss", "--v:50%")]
    assert cells[2][0] == ("–", None, None)
    assert "width:40.0%" in bars([("a", 40.0, 30.0, 50.0)], "%")


def test_a_spectrogram_shows_a_tone_where_it_is() -> None:
    time_s = np.arange(16_000) / 16_000
    low, high = (
        spectrogram(np.sin(2 * np.pi * hz * time_s).astype(np.float32)) for hz in (200.0, 4000.0)
    )
    assert low.shape == high.shape == (BANDS, 201)
    assert low[:, 100].argmax() > high[:, 100].argmax()  # high tones on top
    # 2595 log10(1 + f / 700): 4000 Hz lies at 76 % of the mel scale up to 8000 Hz
    assert BANDS - high[:, 100].argmax() == pytest.approx(0.756 * BANDS, abs=2)
    assert np.ptp(spectrogram(np.zeros(1600, np.float32))) == 0
    picture = png(high)
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    start = picture.index(b"IDAT") + 4
    assert len(zlib.decompress(picture[start:-16])) == BANDS * 202


@pytest.fixture(scope="module")
def page() -> Page:
    return made_up_page()


def test_the_page_states_the_result(page: Page) -> None:
    text = render(page)
    assert re.search(
        r"<h1>In noise of 0 dB and louder, EchoDistill answers \d+\.\d points more questions right",
        text,
    )
    assert "50 of 900 answers name no choice, or more than one (of all systems" in text
    assert "95 % intervals over 40 clips and 3 seeds" in text
    assert "At SNR ≤ 0 dB accuracy rises from" in text
    assert '<p class="warning">' not in text
    few = render(replace(page, table={**page.table, "units": 4, "unit": "group"}))
    assert "intervals over 4 groups and 3 seeds" in few
    assert '<p class="warning">Warning: the test has only 4 groups' in few
    # the first forty, and nothing from data is markup
    assert text.count("&lt;b&gt;neither&lt;/b&gt;") == 40
    assert "<b>neither" not in text
    assert text.count("<audio") == 4
    assert "Which &lt;colour&gt;?" in text
    assert "8 clips &amp; more" in text
    assert "<td>3,840</td><td>36,800</td><td>9,600</td>" in text  # prompts and tokens of 160 steps
    assert ">0</text>" in text
    assert ">20*</text>" in text  # a level that training did not have
    assert "Every row of the corpus could be used" in text
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)  # nothing is fetched
    assert render(page) == text
    text = render(
        replace(page, quarantined=[Quarantined("manifest.jsonl:3", "no such audio file: a.wav")])
    )
    assert "no such audio file: a.wav" in text
    broken = replace(
        page, training={"echodistill": [{"step": 1, "loss": math.nan}, {"step": 2, "loss": 0.5}]}
    )
    assert not re.search(r'[>,"\s]nan[<,"\s]', render(broken))


def changed(table: dict[str, Any], low: float, value: float, high: float) -> dict[str, Any]:
    acc = table["differences"]["echodistill - base"]["acc"] | {
        "low": low,
        "value": value,
        "high": high,
    }
    return table | {"differences": {"echodistill - base": {"acc": acc}}}


def forced(table: dict[str, Any], low: float, value: float, high: float) -> dict[str, Any]:
    gain = table["differences"]["echodistill - base"]
    return table | {
        "differences": {
            "echodistill - base": gain | {"acc_forced": {"low": low, "value": value, "high": high}}
        }
    }


def test_the_headline_never_claims_what_the_interval_does_not(page: Page) -> None:
    table = dict(page.table)
    more, none, fewer = (
        changed(table, *ends)
        for ends in ((0.01, 0.05, 0.1), (-0.01, 0.05, 0.1), (-0.03, -0.02, -0.01))
    )
    assert headline(more).endswith(
        "EchoDistill answers 5.0 points more questions right than its base."
    )
    assert "EchoDistill does not differ significantly from its base (+5.0 points)" in headline(none)
    assert "EchoDistill answers 2.0 points fewer questions right" in headline(fewer)
    for ends, words in (
        ((-0.01, 0.01, 0.02), "there is no significant difference (+1.0 points)"),
        ((0.01, 0.02, 0.03), "2.0 points more"),
        ((-0.03, -0.02, -0.01), "2.0 points fewer"),
    ):
        assert headline(forced(more, *ends)).endswith(
            f"than its base; by forced choice among the offered texts {words}."
        )


def test_the_gain_by_kind_is_beside_the_bases_accuracy(page: Page) -> None:
    shown = kinds_table(page.table)
    assert shown is not None
    base, gain = page.table["systems"]["base"], page.table["differences"]["echodistill - base"]
    assert {row[0]: row[1] for row in shown.rows} == {"crowd": "yes", "wind": "no"}
    for kind, _, before, _, difference in shown.rows:
        assert before.startswith(f"{100 * base[f'acc/{kind}']['value']:.1f} [")
        assert difference == points(gain[f"acc/{kind}"])
    assert [row[0] for row in shown.rows] == sorted(
        ("crowd", "wind"), key=lambda kind: base[f"acc/{kind}"]["value"]
    )
    assert shown.caption in render(page)
    rows = dict(
        zip(
            headings(page.table)[0],
            next(row for row in system_rows(page.table) if row[0] == "grpo"),
            strict=True,
        )
    )
    assert rows["s.d."] == f"{100 * page.table['systems']['grpo']['acc']['seed_sd']:.1f}"


def test_the_terminal_shows_the_same_figures(page: Page) -> None:
    from rich.console import Console

    plain = io.StringIO()
    print_comparison(dict(page.table), Console(file=plain, width=200, no_color=True))
    shown, html = " ".join(plain.getvalue().split()), render(page)
    narrow = io.StringIO()
    print_comparison(dict(page.table), Console(file=narrow, width=80, no_color=True))
    assert "…" not in narrow.getvalue()  # cells wrap, none is cut
    acc = page.table["systems"]["echodistill"]["acc"]
    figure = f"{100 * acc['value']:.1f}"
    assert f"{figure} [{100 * acc['low']:.0f}, {100 * acc['high']:.0f}]" in shown
    assert (
        f'<td>{figure}<span class="range">[{100 * acc["low"]:.0f},'
        f" {100 * acc['high']:.0f}]</span></td>" in html
    )


def test_the_style_knows_light_dark_and_keyboard() -> None:
    style = (Path(__file__).parents[1] / "echodistill/reports/page.css").read_text()
    assert "prefers-color-scheme: dark" in style
    assert ":focus-visible" in style
    assert "http" not in style
