"""Runs with overrides work in clones of their own, which end as experiments."""

import csv
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from echodistill.core.errors import UserError
from flows.commands import output_of
from flows.stage_process import StageRefused
from flows.workspace import experiment_name, keep_reports, open_workspace, save_experiment
from flows.workspace_lock import workspace_lock
from tests.flow_repository import DVC, STAGES, run_one, shell
from tests.flow_repository import repository as repository


def test_runs_in_one_workspace_take_turns(tmp_path: Path) -> None:
    logged: list[str] = []
    order: list[str] = []

    def second() -> None:
        with workspace_lock(tmp_path, lambda: False, logged.append):
            order.append("second")

    with ThreadPoolExecutor() as pool:
        with workspace_lock(tmp_path, lambda: False, logged.append):
            waiting = pool.submit(second)
            time.sleep(0.5)
            order.append("first")
            with (
                pytest.raises(StageRefused, match="cancelled"),
                workspace_lock(tmp_path, lambda: True, print),
            ):
                pass
        waiting.result()
    assert order == ["first", "second"]
    assert logged == [f"another run works in {tmp_path}: waiting for its end"]


def test_a_token_in_a_git_address_is_never_printed(repository: Path) -> None:
    with pytest.raises(UserError) as caught:
        output_of("git", "fetch", "http://user:hush@127.0.0.1:9/x", cwd=repository)
    assert "hush" not in str(caught.value)
    assert "127.0.0.1:9/x" in str(caught.value)


def test_a_workspace_of_its_own_ends_as_an_experiment(repository: Path) -> None:
    whole = {name: STAGES[name] for name in ("first", "last")}
    (repository / "dvc.yaml").write_text(yaml.safe_dump({"stages": whole}))
    shell(repository, "git", "commit", "--quiet", "-am", "only what works")
    run_one("first", repository)
    before = (repository / "params.yaml").read_bytes()
    workspace = open_workspace(repository, "warm-hare", ["seed=7"])
    assert yaml.safe_load((workspace / "params.yaml").read_text())["seed"] == 7
    assert (workspace / "raw.txt").read_text() == "raw\n"  # not in git, brought along
    assert run_one("first", workspace)[0] == "ran"
    again = open_workspace(repository, "warm-hare", ["seed=7"])
    assert again == workspace
    assert (again / "first.txt").is_file()
    assert run_one("first", again)[0] == "cached: nothing changed"  # a run cut short goes on
    run_one("last", again)
    (workspace / "reports/data_docs/train").mkdir(parents=True)
    (workspace / "reports/data_docs/train/index.html").write_text("page")
    kept = keep_reports(repository, workspace, "warm-hare")
    save_experiment(repository, workspace, "warm-hare")
    assert (kept / "data_docs/train/index.html").read_text() == "page"
    assert not workspace.exists()
    assert "warm-hare" in shell(repository, *DVC, "exp", "list", "--name-only")
    assert (repository / "params.yaml").read_bytes() == before
    shell(repository, *DVC, "exp", "apply", "warm-hare")
    assert yaml.safe_load((repository / "params.yaml").read_text())["seed"] == 7


@pytest.mark.parametrize("pipeline", ["dvc.yaml", "comparison/dvc.yaml"])
def test_an_experiment_shows_its_figures(repository: Path, pipeline: str) -> None:
    judge = {
        "wdir": os.path.relpath(".", Path(pipeline).parent),
        "cmd": "cat params.yaml > metrics.yaml",
        "params": ["seed"],
    }
    (repository / pipeline).parent.mkdir(exist_ok=True)
    (repository / pipeline).write_text(
        yaml.safe_dump({"stages": {"judge": judge | {"metrics": ["metrics.yaml"]}}})
    )
    (repository / ".git/info/exclude").write_text("metrics.yaml\n")
    shell(repository, "git", "add", pipeline)
    shell(repository, "git", "commit", "--quiet", "-m", "judge")
    workspace = open_workspace(repository, "warm-hare", ["seed=7"])
    shell(workspace, *DVC, "repro", pipeline)
    save_experiment(repository, workspace, "warm-hare", pipeline)
    shown = csv.DictReader(shell(repository, *DVC, "exp", "show", "--csv").splitlines())
    figures = [row for row in shown if row["Experiment"] == "warm-hare"]
    assert [
        {key: row[key] for key in row if key.endswith("metrics.yaml:seed")} for row in figures
    ] == [{"metrics.yaml:seed": "7"}]


def test_inputs_that_an_override_names_are_brought_along(repository: Path, tmp_path: Path) -> None:
    stage = {
        "cmd": "cat ${corpus.path}/raw.txt > out.txt",
        "deps": ["${corpus.path}"],
        "outs": ["out.txt"],
    }
    (repository / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"first": stage}}))
    shell(repository, "git", "commit", "--quiet", "-am", "the parameters name the input")
    for folder in (repository / "other", tmp_path / "outside"):
        folder.mkdir()
        (folder / "raw.txt").write_text(f"of {folder.name}\n")
    (repository / ".git/info/exclude").write_text("other/\n")
    workspace = open_workspace(repository, "within", ["corpus.path=other"])
    run_one("first", workspace)
    assert (workspace / "out.txt").read_text() == "of other\n"
    with pytest.raises(
        UserError, match=r"^\.\./outside is outside the repository.*give an absolute path"
    ):
        open_workspace(repository, "without", ["corpus.path=../outside"])
    workspace = open_workspace(repository, "absolute", [f"corpus.path={tmp_path / 'outside'}"])
    run_one("first", workspace)
    assert (workspace / "out.txt").read_text() == "of outside\n"


def test_a_workspace_from_before_a_commit_is_made_anew(repository: Path) -> None:
    """What a run of that name left is not taken for the code of now."""
    left = open_workspace(repository, "old-hare", ["seed=7"])
    (left / "mark").touch()
    assert (open_workspace(repository, "old-hare", ["seed=7"]) / "mark").exists()
    shell(repository, "git", "commit", "--quiet", "--allow-empty", "-m", "later")
    assert not (open_workspace(repository, "old-hare", ["seed=7"]) / "mark").exists()


def test_wrong_overrides_make_no_workspace(repository: Path) -> None:
    with pytest.raises(UserError, match=r"no key 'train\.nothing'"):
        open_workspace(repository, "bad", ["train.nothing=1"])
    assert not (repository / ".echodistill/workspaces").exists()


@pytest.mark.parametrize(
    ("given", "name"), [("warm-hare", "warm-hare"), ("a b/c", "a-b-c"), ("--", "run")]
)
def test_experiment_names_are_what_git_accepts(given: str, name: str) -> None:
    assert experiment_name(given) == name
