"""The report as a browser shows it, narrow and wide, light and dark: without the net, without a
mouse, and legible.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from echodistill.core.records import Quarantined
from echodistill.reports.page import render
from tests.browser import Tab
from tests.browser import tab as tab
from tests.made_up_page import made_up_page

LARGEST = 10 * 2**20


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up report with all that a report can have: a second table, distortions, quarantined
    rows, long names.
    """
    page = made_up_page()
    table = dict(page.table)
    interval = {"value": 0.5, "low": 0.4, "high": 0.6}
    conditions = [
        {"severity": severity, "trained": False, "base": interval, "student": interval}
        for severity in (0.25, 0.5, 1)
    ]
    table["denoised"] = page.table
    names = ("Reverberation", "Clipping")
    table["distortions"] = {
        name: {"display": name, "unit": "s of RT60", "conditions": conditions} for name in names
    }
    table["cells"] = {  # the strongest colour both ways
        "base": {"crowd": {"-10": 0.5, "20": 0.5}, "rain": {"-10": 0.5, "20": 0.5}},
        "echodistill": {"crowd": {"-10": 0.9, "20": 0.5}, "rain": {"-10": 0.1, "20": 0.6}},
    }
    quarantined = [
        Quarantined("manifest.jsonl:3", f"no such audio file: {'a_long_folder/' * 9}a.wav")
    ]
    facts = [*page.facts, ("Code", "0123456789abcdef" * 5)]
    path = tmp_path_factory.mktemp("report") / "page.html"
    path.write_text(
        render(replace(page, table=table, quarantined=quarantined, facts=facts)), encoding="utf-8"
    )
    return path


@pytest.fixture(
    params=[(375, False), (375, True), (1440, False), (1440, True)],
    ids=["narrow", "narrow-dark", "wide", "wide-dark"],
)
def shown(request: pytest.FixtureRequest, tab: Tab, report: Path) -> Tab:
    """The report in a tab, at each width in each scheme, all of it unfolded."""
    width, dark = request.param
    tab.open(report.as_uri(), width, dark)
    tab.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    return tab


def test_the_report_fits_the_screen_and_can_be_read_and_followed_without_seeing_it(
    shown: Tab,
) -> None:
    assert shown.faults() == []


def test_names_that_stay_in_view_leave_room_for_the_figures(shown: Tab) -> None:
    shown.run(
        "document.querySelector('.scroll tbody th').textContent = 'deepfilternet3 + student -"
        " echodistill'"
    )
    shares = """[...document.querySelectorAll('.scroll')]
        .filter(one => one.querySelector('table:not(.words) tbody th'))
        .map(one => one.querySelector('tbody th').getBoundingClientRect().width
            / one.clientWidth)"""
    found = shown.run(shares)
    assert len(found) > 2
    assert max(found) < 0.5


def test_the_report_plays_and_asks_nothing_of_the_net(shown: Tab, report: Path) -> None:
    assert shown.run("document.querySelectorAll('audio').length") == 4
    assert shown.run("checks.mute()") == []
    assert shown.requests() == {report.as_uri()}
    assert shown.complaints() == []
    assert report.stat().st_size < LARGEST


def test_every_control_of_the_report_is_reached_by_the_tabulator_key_in_the_order_of_the_page(
    shown: Tab,
) -> None:
    expected = shown.run("checks.reachable().length")
    assert expected > 15
    assert shown.tabbed() == list(range(expected))
    shown.open(shown.run("location.href"), 375)
    shown.press("Tab")
    assert shown.run("document.activeElement.className") == "skip"  # past the navigation
    shown.press("Enter")
    assert shown.run("location.hash") == "#systems"
