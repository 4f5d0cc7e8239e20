"""Waiting for another machine and for a cancellation, with Prefect's server played: what is given
up, and what is asked again.
"""

import threading
import time
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import StateType
from prefect.states import Completed, Running

from flows import cancellation, remote_stage
from flows.cancellation import CancellationWatcher
from flows.stage_process import StageCrashed


class Server:
    """A run's states, one a look, the last for ever; and its log lines."""

    def __init__(self, *states: Any, lines: int = 0) -> None:
        self.states = list(states)
        self.lines = [
            SimpleNamespace(id=uuid4(), message=f"line {number}") for number in range(lines)
        ]

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_flow_run(self, _run_id: object) -> Any:
        return SimpleNamespace(state=self.states.pop(0) if len(self.states) > 1 else self.states[0])

    def read_logs(self, offset: int, **_: object) -> list[Any]:
        return self.lines[offset:]


def follow(
    server: Server, monkeypatch: pytest.MonkeyPatch, silence_s: float
) -> tuple[Any, list[str]]:
    logged: list[str] = []
    monkeypatch.setattr(remote_stage, "get_client", lambda **_: server)
    monkeypatch.setattr(remote_stage, "POLL_S", 0.01)
    monkeypatch.setattr(remote_stage, "SILENCE_S", silence_s)
    run: Any = SimpleNamespace(id=uuid4())
    return remote_stage._follow(run, "waiting", logged.append), logged


def test_a_machine_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StageCrashed, match="has logged nothing"):
        follow(Server(Running()), monkeypatch, 0.1)


def test_what_the_machine_logs_is_passed_on_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    state, logged = follow(Server(Running(), Running(), Completed(), lines=3), monkeypatch, 30.0)
    assert state.is_completed()
    assert logged == ["line 0", "line 1", "line 2"]


def test_what_starts_after_a_cancellation_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Semaphore(0)
    monkeypatch.setattr(
        cancellation, "get_client", lambda **_: Server(SimpleNamespace(type=StateType.CANCELLING))
    )
    monkeypatch.setattr(cancellation, "POLL_S", 0.01)
    with CancellationWatcher([uuid4()], lambda: ended.release()) as watch:
        assert all(ended.acquire(timeout=5) for _ in range(3))
        assert watch.cancelled
    time.sleep(0.05)
    assert not any(thread.name == "cancellation" for thread in threading.enumerate())
