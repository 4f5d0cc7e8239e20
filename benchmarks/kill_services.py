"""Kill services at random moments of a run, ten times, and see that nothing is lost:
``python -m benchmarks.kill_services``.

Two copies of a small project. One runs undisturbed through its deployment. In the other each round
starts the deployment, waits a random time, kills the process trees of one or more services, brings
them up and starts the deployment again. At the end the last run must finish, the metrics and every
published object must be those of the undisturbed run, and provenance must match.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.projects import small_project
from tests.seaweed import ten_ports
from tests.team import Team, clean_environment, exported, run

MAX_WAIT_S = 45.0
RESULTS = (
    "reports/metrics.json",
    "reports/promotion.json",
    "models/student/model.safetensors",
    "data/answers/student.parquet",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        wanted = _undisturbed(Path(scratch) / "undisturbed")
        print("undisturbed run: done", flush=True)
        found, output = _disturbed(Path(scratch) / "disturbed", options.rounds, chance)
    differing = [name for name in RESULTS if wanted[name] != found[name]]
    print(output.splitlines()[-1])
    print(
        f"{len(RESULTS) - len(differing)} of {len(RESULTS)} results are byte for byte those of the"
        f" undisturbed run; {differing=}"
    )
    sys.exit(bool(differing) or not output.splitlines()[-1].startswith("matches"))


def _open(folder: Path) -> Team:
    folder.mkdir()
    small_project(folder)
    plain = clean_environment(folder)
    run(folder, plain, "git", "add", ".")
    run(
        folder,
        plain,
        "git",
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.org",
        "commit",
        "--quiet",
        "-m",
        "a project",
    )
    run(folder, plain, "echodistill", "services", "up", "--first-port", str(ten_ports()))
    team = Team(folder, plain | exported(folder))
    run(
        folder,
        team.environment,
        "prefect",
        "--no-prompt",
        "deploy",
        "--prefect-file",
        "infra/prefect.yaml",
        "--all",
    )
    return team


def _results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS}


def _undisturbed(folder: Path) -> dict[str, bytes]:
    team = _open(folder)
    try:
        state = team.wait(team.start(), 1200)
        if state["type"] != "COMPLETED":
            sys.exit(f"the undisturbed run ended as {state['type']}: {state['message']}")
        return _results(folder)
    finally:
        run(folder, team.environment, "echodistill", "services", "down")
        shutil.rmtree(folder / ".echodistill", ignore_errors=True)


def _disturbed(folder: Path, rounds: int, chance: random.Random) -> tuple[dict[str, bytes], str]:
    team = _open(folder)
    try:
        for number in range(rounds):
            team.start()
            waited = chance.uniform(3, MAX_WAIT_S)
            time.sleep(waited)
            killed = _kill(folder, chance)
            print(
                f"round {number + 1}: killed {', '.join(killed)} after {waited:.0f} s", flush=True
            )
            run(folder, team.environment, "echodistill", "services", "up")
        state = team.wait(team.start(), 1200)
        print(f"last run: {state['type']}: {state['message']}", flush=True)
        output = run(
            folder,
            team.environment,
            "echodistill",
            "provenance",
            "echodistill@candidate",
            check=False,
        ).stdout
        return _results(folder), output
    finally:
        run(folder, team.environment, "echodistill", "services", "down", check=False)


def _kill(folder: Path, chance: random.Random) -> list[str]:
    """Kill some services' process trees, runs under way in them included; their names."""
    known = json.loads(
        (folder / ".echodistill/services/processes.json").read_text(encoding="utf-8")
    )
    names = chance.sample(sorted(known), chance.randint(1, len(known)))
    for name in names:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(known[name]["pid"])
            for one in [process, *process.children(recursive=True)]:
                with suppress(ProcessLookupError, psutil.NoSuchProcess):
                    os.kill(one.pid, signal.SIGKILL)
    return sorted(names)


if __name__ == "__main__":
    main()
