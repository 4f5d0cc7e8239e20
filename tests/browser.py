"""A headless Chromium for tests, driven over its DevTools protocol; one page at a time."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from websockets.sync.client import connect
from websockets.sync.connection import Connection

NO_CHROMIUM = "no Chromium on this machine"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # containers have no user namespaces, and the pages are our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--remote-debugging-port=0",
)
TIMEOUT_S = 60.0
CHECKS = (Path(__file__).parent / "page_checks.js").read_text(encoding="utf-8")
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowDown": 40, "End": 35, "Home": 36}


def binary() -> str:
    """Chromium's path; skips the test where there is none."""
    if named := os.environ.get("CHROMIUM"):
        return named
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(
            f"{NO_CHROMIUM}: none of {', '.join(NAMES)} is on PATH, and CHROMIUM names none"
        )
    return found


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Tab"]:
    """One for all tests of a file."""
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@contextmanager
def chromium(profile: Path) -> Iterator["Tab"]:
    """A browser with one empty tab; ended with all its processes."""
    command = [binary(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            with connect(
                _address(profile / "DevToolsActivePort", process), max_size=None
            ) as socket:
                yield Tab(socket)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _address(port_file: Path, process: subprocess.Popen[bytes]) -> str:
    """The websocket of a new tab, once Chromium has written its port."""
    until = time.monotonic() + TIMEOUT_S
    while not (port_file.is_file() and port_file.read_text().count("\n")):
        assert process.poll() is None, f"Chromium ended with status {process.returncode}"
        assert time.monotonic() < until, f"Chromium opened no port within {TIMEOUT_S:g} s"
        time.sleep(0.05)
    port = port_file.read_text().splitlines()[0]
    with urlopen(
        Request(f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT"), timeout=TIMEOUT_S
    ) as answer:
        return str(json.loads(answer.read())["webSocketDebuggerUrl"])


class Tab:
    """One page in the browser, with methods for what a person does; it records messages to the
    console and requests to the network.
    """

    def __init__(self, socket: Connection) -> None:
        self._socket = socket
        self._count = 0
        self._events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its result; events that come in between are kept."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            message = self._receive()
            if message.get("id") == self._count:
                assert "error" not in message, f"{method}: {message['error']}"
                return dict(message["result"])

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv(timeout=TIMEOUT_S))
        if "method" in message:
            self._events.append(message)
        return message

    def open(self, address: str, width: int, dark: bool = False) -> None:
        """Load a page with ``checks`` on a screen of this width and colour scheme, and forget
        earlier messages.
        """
        # not "mobile": there a page that is too wide widens the viewport, and nothing would show
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self._events.clear()
        reply = self.send("Page.navigate", url=address)
        assert "errorText" not in reply, f"{address}: {reply['errorText']}"
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._receive()
        self.run(CHECKS)

    def faults(self) -> list[str]:
        """Return faults of the page's layout and accessibility, and complaints on the console."""
        found = self.run(
            "[...checks.wide(), ...checks.faint(), ...checks.nameless(), ...checks.headings()]"
        )
        return [*found, *self.complaints()]

    def tabbed(self) -> list[int]:
        """Places, among all controls, of those that get the focus one after another. Each must show
        that it has it.
        """
        found: list[int] = []
        for _ in range(200):
            self.press("Tab")
            place = self.run("checks.reachable().indexOf(document.activeElement)")
            if place == -1 or place in found[:-1]:  # past the last, or around to the first
                break
            if not found or found[-1] != place:  # a player has several stops inside
                found.append(place)
                assert self.run("checks.marked(document.activeElement)"), (
                    f"control {place} does not show its focus"
                )
        return found

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited where it is a promise."""
        reply = self.send(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in reply, f"{expression}: {reply['exceptionDetails']}"
        return reply["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until the JavaScript condition holds."""
        until = time.monotonic() + TIMEOUT_S
        while not self.run(condition):
            assert time.monotonic() < until, (
                f"{condition}: never within {TIMEOUT_S:g} s; the console has {self.complaints()}"
            )
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """One key, down and up."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        known = {
            "key": key,
            "code": "Space" if key == " " else key,
            "windowsVirtualKeyCode": KEYS[key],
        }
        self.send(
            "Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **known
        )
        self.send("Input.dispatchKeyEvent", type="keyUp", **known)

    def choose_file(self, selector: str, path: Path) -> None:
        """As the file dialogue does."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def complaints(self) -> list[str]:
        """Errors, warnings and exceptions since the page was opened."""
        self.run("0")  # what the page has said already arrives before the answer
        found = []
        for event in self._events:
            given = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(given["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled" and given["type"] in (
                "error",
                "warning",
                "assert",
            ):
                found.append(json.dumps(given["args"]))
            elif event["method"] == "Log.entryAdded" and given["entry"]["level"] in (
                "error",
                "warning",
            ):
                found.append(f"{given['entry']['text']} ({given['entry'].get('url', '')})")
        return found

    def requests(self) -> set[str]:
        """Addresses that the page asked for, without what it holds itself."""
        self.run("0")
        sent = [
            event["params"]["request"]["url"]
            for event in self._events
            if event["method"] == "Network.requestWillBeSent"
        ]
        return {url for url in sent if not url.startswith(("data:", "blob:"))}
