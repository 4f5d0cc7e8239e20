"""The platform as a team uses it: services of a project, asked over HTTP as a browser or another
client would.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.projects import ROOT

ATTEMPTS = 10
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def run(
    folder: Path, environment: dict[str, str], *command: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """A command in a project's folder; what it prints is in the error when it fails."""
    result = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert not check or result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result


def clean_environment(folder: Path) -> dict[str, str]:
    """The caller's without anything that points at services or caches; code comes from
    ``folder``.
    """
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "MLFLOW_", "PREFECT_", "ECHODISTILL_"))
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
    return own | {"PATH": path, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1", "COLUMNS": "200"}


def exported(folder: Path) -> dict[str, str]:
    """What ``services env`` prints."""
    lines = run(
        folder, clean_environment(folder), "echodistill", "services", "env"
    ).stdout.splitlines()
    return dict(shlex.split(line)[1].split("=", 1) for line in lines)


@dataclass(frozen=True)
class Team:
    """A project whose services are up."""

    project: Path
    environment: dict[str, str]

    def api(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask Prefect's server; again while its SQLite is busy (503), as Prefect's own client
        does.
        """
        request = urllib.request.Request(
            f"{self.environment['PREFECT_API_URL']}{path}",
            None if body is None else json.dumps(body).encode(),
        )
        request.add_header(
            "Authorization",
            "Basic " + b64encode(self.environment["PREFECT_API_AUTH_STRING"].encode()).decode(),
        )
        request.add_header("Content-Type", "application/json")
        for attempt in range(ATTEMPTS):
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.loads(answer.read() or b"null")
            except urllib.error.HTTPError as error:
                if error.code != 503 or attempt == ATTEMPTS - 1:
                    raise
                time.sleep(1)

    def start(self, deployment: str = "full", **parameters: Any) -> str:
        """Run the deployment ``echodistill/DEPLOYMENT``; the flow run's id."""
        found = self.api(f"/deployments/name/echodistill/{deployment}")["id"]
        return str(
            self.api(f"/deployments/{found}/create_flow_run", {"parameters": parameters})["id"]
        )

    def wait(self, run_id: str, seconds: float = 3000.0) -> dict[str, Any]:
        """The flow run's last state."""
        end = time.monotonic() + seconds
        while True:
            state: dict[str, Any] = self.api(f"/flow_runs/{run_id}")["state"]
            if state["type"] in FINAL:
                return state
            assert time.monotonic() < end, (state, self.logs(run_id)[-20:])
            time.sleep(1)

    def logs(self, run_id: str) -> list[str]:
        """Its log lines, in order."""
        lines: list[str] = []
        wanted = {
            "logs": {"flow_run_id": {"any_": [run_id]}},
            "sort": "TIMESTAMP_ASC",
            "limit": 200,
        }
        while found := self.api("/logs/filter", wanted | {"offset": len(lines)}):
            lines += [line["message"] for line in found]
        return lines

    def end_worker(self, pool: str) -> None:
        """Stop the project's own worker of a pool."""
        pid = json.loads((self.project / ".echodistill/services/processes.json").read_text())[
            f"worker-{pool}"
        ]["pid"]
        os.killpg(pid, signal.SIGKILL)  # asked politely while it starts, it goes on

    def worker_on_another_machine(self, folder: Path, pool: str) -> subprocess.Popen[bytes]:
        """Start a worker in another clone of the project, with caches and settings of its own."""
        own = {
            "ECHODISTILL_REPOSITORY": str(folder),
            "PREFECT_HOME": str(folder / ".prefect"),
            "PREFECT_WORKER_QUERY_SECONDS": "2",
        }
        command = [
            "prefect",
            "worker",
            "start",
            "--pool",
            pool,
            "--type",
            "process",
            "--name",
            "other-machine",
        ]
        with (folder / "worker.log").open("wb") as log:
            return subprocess.Popen(
                command,
                cwd=folder,
                env=self.environment | own,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
