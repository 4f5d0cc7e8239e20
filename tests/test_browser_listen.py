"""Tests of the listening page in a browser: upload, record, set the noise, ask, play, and read
error messages.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from echodistill.serving.app import Server
from tests.browser import Tab
from tests.browser import tab as tab
from tests.fake_backend import EXAMPLE, TROUBLE, served, wav

REPORT_CSS = Path(__file__).parents[1] / "echodistill/reports/page.css"
SCREENS = pytest.mark.parametrize(
    ("width", "dark"), [(375, False), (375, True), (1440, False), (1440, True)]
)
ERROR = "document.getElementById('error').textContent"
DONE = (
    "!document.getElementById('result').hidden && document.getElementById('status').textContent"
    " === ''"
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with served() as found:
        yield found


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.wav"
    path.write_bytes(wav(0.3 * np.sin(np.arange(16_000)), 16_000))
    return path


def ask(tab: Tab) -> None:
    tab.run("document.getElementById('ask').click()")


def answers(tab: Tab) -> list[str]:
    tab.wait(DONE)
    found: list[str] = tab.run(
        "[...document.querySelectorAll('#answers > *')].map(one => one.textContent)"
    )
    return found


@SCREENS
def test_an_uploaded_clip_is_asked_about_in_noise_and_played(
    tab: Tab, server: Server, clip: Path, width: int, dark: bool
) -> None:
    tab.open(server.address, width, dark)
    assert tab.faults() == []
    tab.choose_file("#file", clip)
    assert tab.run("document.getElementById('snr').disabled")  # there is no noise yet
    tab.run("document.getElementById('noise').focus()")
    tab.press("ArrowDown")
    tab.run("document.getElementById('snr').focus()")
    for _ in range(7):
        tab.press("ArrowLeft")
    assert (
        tab.run(
            "[document.getElementById('level').value, document.getElementById('snr').ariaValueText]"
        )
        == ["-7 dB"] * 2
    )
    tab.run("document.getElementById('question').focus()")
    tab.press("Enter")
    assert answers(tab) == [
        "base",
        "16000 samples",
        "student",
        f"{EXAMPLE.question} {' | '.join(EXAMPLE.choices)}",
    ]
    assert (
        tab.run("document.getElementById('clip-note').textContent")
        == "Your clip in noise: rain at -7 dB."
    )
    assert tab.run("document.activeElement.id") == "result-title"
    assert tab.run("checks.mute()") == []
    peak = tab.run(
        "new OfflineAudioContext(1, 1, 16000).decodeAudioData("
        "Uint8Array.from(atob(clip.src.split(',')[1]), one => one.charCodeAt(0)).buffer)"
        ".then(sound => Math.max(...sound.getChannelData(0)))"
    )
    assert peak == pytest.approx(0.3 * 10 ** (-7 / 20), rel=0.01)
    assert tab.faults() == []


def test_the_page_asks_only_its_own_server(tab: Tab, server: Server) -> None:
    tab.open(server.address, 1440)
    own = server.address.split("?")[0]
    assert tab.requests() == {server.address, f"{own}page.css", f"{own}page.js"}


@SCREENS
def test_what_is_wrong_is_shown_in_words_that_can_be_read(
    tab: Tab, server: Server, clip: Path, width: int, dark: bool
) -> None:
    tab.open(server.address, width, dark)
    ask(tab)
    assert tab.run(ERROR) == "Choose or record a clip first."
    assert tab.run("[document.activeElement.id, document.activeElement.ariaInvalid]") == [
        "file",
        "true",
    ]
    assert tab.faults() == []
    tab.choose_file("#file", Path(__file__))
    assert tab.run(ERROR) == ""
    ask(tab)
    tab.wait(f"{ERROR} !== ''")
    assert "the recording: not an audio file" in tab.run(ERROR)
    assert tab.run("document.getElementById('error').getAttribute('role')") == "alert"
    assert tab.run("document.getElementById('result').hidden")
    assert [
        one for one in tab.faults() if " 400 " not in one
    ] == []  # Chromium tells of the status itself
    tab.choose_file("#file", clip)
    tab.run("document.getElementById('question').value = ' '")
    ask(tab)
    assert tab.run(ERROR) == "Ask a question."
    assert tab.run("document.activeElement.id") == "question"


def test_models_that_fail_and_a_server_that_has_ended_are_reported(tab: Tab, clip: Path) -> None:
    with served() as server:
        tab.open(server.address, 375)
        tab.choose_file("#file", clip)
        tab.run(f"document.getElementById('question').value = {TROUBLE!r}")
        ask(tab)
        tab.wait(f"{ERROR} !== ''")
        assert "out of memory" in tab.run(ERROR)
    ask(tab)
    tab.wait(f"{ERROR}.startsWith('No answer came: is `echodistill listen` still running')")
    assert tab.run("document.getElementById('ask').ariaDisabled") == "false"


def test_a_clip_that_is_too_large_is_reported_before_it_is_sent(
    tab: Tab, server: Server, tmp_path: Path
) -> None:
    large = tmp_path / "large.wav"
    with large.open("wb") as file:
        file.truncate(50 * 2**20 + 1)
    tab.open(server.address, 375)
    tab.choose_file("#file", large)
    ask(tab)
    assert tab.run(ERROR) == "The clip is larger than 50 MiB."
    assert not [url for url in tab.requests() if "/answer" in url]


def test_a_recording_is_asked_about_as_the_microphone_gave_it(
    tab: Tab, server: Server, clip: Path
) -> None:
    tab.open(server.address, 375)
    tab.choose_file("#file", clip)
    tab.run("document.getElementById('record').focus()")
    tab.press(" ")
    tab.wait("document.getElementById('record').textContent === 'Stop'")
    assert tab.faults() == []
    tab.run("new Promise(done => setTimeout(done, 1500))")
    tab.press(" ")
    shown = tab.run("document.getElementById('recorded').textContent")
    seconds = float(re.fullmatch(r"(\d+\.\d) s recorded", shown).group(1))  # type: ignore[union-attr]
    assert 0.5 < seconds < 30
    # the recording has taken its place
    assert tab.run("document.getElementById('file').files.length") == 0
    ask(tab)
    answer = answers(tab)[1]
    assert int(answer.split()[0]) == pytest.approx(16_000 * seconds, abs=1_000)
    assert tab.run("checks.mute()") == []
    assert tab.complaints() == []


def test_asking_ends_a_recording_and_a_file_replaces_it(
    tab: Tab, server: Server, clip: Path
) -> None:
    tab.open(server.address, 375)
    tab.run("document.getElementById('record').click()")
    tab.wait("document.getElementById('record').textContent === 'Stop'")
    tab.run("new Promise(done => setTimeout(done, 500))")
    ask(tab)
    assert answers(tab)[1] != "16000 samples"
    tab.choose_file("#file", clip)
    assert tab.run("document.getElementById('recorded').textContent") == ""
    ask(tab)
    tab.wait("document.getElementById('answers').textContent.includes('base16000 samples')")
    assert tab.complaints() == []


def test_every_control_is_reached_by_the_tabulator_key(
    tab: Tab, server: Server, clip: Path
) -> None:
    tab.open(server.address, 1440)
    tab.choose_file("#file", clip)
    tab.run("noise.value = 'rain'; noise.onchange()")
    ask(tab)
    answers(tab)
    tab.run("document.getElementById('file').focus()")
    assert tab.run("checks.reachable().length") == 8
    assert tab.tabbed() == list(range(1, 8))


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_has_the_colours_of_the_report(
    tab: Tab, server: Server, tmp_path: Path, dark: bool
) -> None:
    report = tmp_path / "report.html"
    report.write_text(f"<style>{REPORT_CSS.read_text()}</style>")
    names = ["paper", "ink", "soft", "line", "card", "loss", "accent"]
    palette = (
        f"{names}.map(name => getComputedStyle(document.documentElement).getPropertyValue('--' +"
        " name))"
    )
    tab.open(report.as_uri(), 1440, dark)
    expected = tab.run(palette)
    assert all(expected)
    tab.open(server.address, 1440, dark)
    assert tab.run(palette) == expected
