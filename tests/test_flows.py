"""The flows read DVC's graph and drive it: order, reasons, refusals and crashes, workspaces, and
nothing left running.
"""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import yaml

from echodistill.core.errors import UserError
from echodistill.storage.client import Store
from echodistill.storage.place import Place
from flows.commands import output_of
from flows.dvc_repo import locked
from flows.graph import (
    EVALUATION,
    PIPELINE,
    Meta,
    inputs_of_graph,
    read_graph,
    unchanged,
    whole_graph,
)
from flows.remote import use_remote
from flows.stage_process import (
    RunCondition,
    StageCrashed,
    StageRefused,
    StageUnknown,
    run_command,
    run_stage,
)
from flows.stage_request import (
    StageResult,
    pack,
    publish,
    read_request,
    read_result,
    unpacked,
)
from flows.workspace import experiment_name, keep_reports, open_workspace, save_experiment
from flows.workspace_lock import workspace_lock
from tests.storage_fixtures import keys_in, overwrite

ROOT = Path(__file__).parents[1]
DVC = [sys.executable, "-m", "dvc"]
STAGES = {
    "first": {
        "cmd": "cp raw.txt first.txt",
        "deps": ["raw.txt"],
        "params": ["seed"],
        "outs": ["first.txt"],
        "meta": {"pool": "gpu"},
    },
    "refusing": {
        "cmd": (
            f"{sys.executable} -c \"import sys; print('working'); sys.exit('error: gate x failed: 3"
            " of 4')\""
        ),
        "deps": ["first.txt"],
        "outs": ["refusing.txt"],
    },
    "crashing": {
        "cmd": "kill -9 $$",
        "deps": ["first.txt"],
        "outs": ["crashing.txt"],
        "meta": {"retries": 2},
    },
    "slow": {
        "cmd": (
            f"{sys.executable} -c \"import time; print('slow:  40%| 2/5', flush=True);"
            ' time.sleep(300)"'
        ),
        "deps": ["first.txt"],
        "outs": ["slow.txt"],
    },
    "last": {
        "cmd": "cat first.txt first.txt > last.txt",
        "deps": ["first.txt"],
        "outs": ["last.txt"],
    },
}
ALWAYS_CHANGED = {
    # as stage champion: what it asks is nothing that DVC watches
    "asking": {
        "cmd": "cp .echodistill/outside.txt asked.txt",
        "deps": ["first.txt"],
        "outs": [{"asked.txt": {"persist": True}}],
        "always_changed": True,
    },
    "behind": {
        "cmd": "cp asked.txt behind.txt",
        "deps": ["asked.txt"],
        "outs": ["behind.txt"],
        "meta": {"pool": "gpu"},
    },
}


def shell(folder: Path, *command: str) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC repository with a graph of its own and echodistill's parameters."""
    folder = tmp_path / "repository"
    folder.mkdir()
    shell(folder, "git", "init", "--quiet")
    for name, value in (("user.name", "a"), ("user.email", "a@example.org")):
        shell(folder, "git", "config", name, value)
        monkeypatch.setenv(
            {"user.name": "GIT_AUTHOR_NAME", "user.email": "GIT_AUTHOR_EMAIL"}[name], value
        )
        monkeypatch.setenv(
            {"user.name": "GIT_COMMITTER_NAME", "user.email": "GIT_COMMITTER_EMAIL"}[name], value
        )
    shell(folder, *DVC, "init", "--quiet")
    shutil.copy(ROOT / "params.yaml", folder / "params.yaml")
    (folder / "raw.txt").write_text("raw\n")
    (folder / ".gitignore").write_text("raw.txt\n.echodistill/\n")
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    shell(folder, "git", "add", ".")
    shell(folder, "git", "commit", "--quiet", "-m", "start")
    return folder


def run_one(
    name: str, folder: Path, force: bool = False, timeout_s: float | None = None
) -> tuple[str, list[str], list[float]]:
    lines: list[str] = []
    percents: list[float] = []
    how: RunCondition = "always" if force else "if changed"
    done = run_stage(
        name,
        folder,
        how,
        timeout_s,
        {},
        lines.append,
        lambda _says, percent: percents.append(percent),
    )
    return done.decision, lines, percents


def test_the_graph_is_read_with_what_a_stage_needs_before_it(repository: Path) -> None:
    nodes = {node.name: node for node in read_graph(repository)}
    assert set(nodes) == set(STAGES)
    assert nodes["last"].needs == ("first",)
    assert nodes["first"].meta == Meta(pool="gpu")
    assert nodes["crashing"].meta.retries == 2
    order = [node.name for node in read_graph(repository)]
    assert order.index("first") == 0
    assert [node.name for node in read_graph(repository, "last")] == ["first", "last"]
    with pytest.raises(UserError, match=r"no stage 'nowhere'.*crashing"):
        read_graph(repository, "nowhere")


def test_every_stage_of_the_product_is_ordered_behind_what_it_needs() -> None:
    seen: set[str] = set()
    for node in read_graph(ROOT):
        assert set(node.needs) <= seen
        seen.add(node.name)
    assert {"train", "predict@base", "gate@promotion"} <= seen


def test_the_graph_is_not_read_while_dvc_writes_its_lock(repository: Path) -> None:
    """Another stage of the same run may be ending: its entry is not written in one go."""
    run_one("first", repository)
    written = (repository / "dvc.lock").read_text()
    with ThreadPoolExecutor() as pool, locked(repository):
        (repository / "dvc.lock").write_text(written[: written.index("outs")])
        graph, inputs = (
            pool.submit(read_graph, repository),
            pool.submit(inputs_of_graph, repository),
        )
        time.sleep(1)
        (repository / "dvc.lock").write_text(written)
        assert not graph.done()
        assert not inputs.done()
    assert len(graph.result()) == len(STAGES)
    assert inputs.result()


def test_a_lock_that_a_killed_process_left_half_written_costs_nothing(repository: Path) -> None:
    run_one("first", repository)
    lock = repository / "dvc.lock"
    lock.write_text(lock.read_text().replace("cmd", "cm"))
    decision, lines, _ = run_one("first", repository)
    assert decision == "cached: restored from the run cache"
    assert any("dvc.lock was damaged: it is dvc.lock.damaged now" in line for line in lines)
    assert (repository / "dvc.lock.damaged").is_file()
    assert run_one("first", repository)[0] == "cached: nothing changed"


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


def test_the_remote_follows_the_store(repository: Path) -> None:
    use_remote(repository, Place("one", "p", None))
    use_remote(repository, Place("two", "p", "http://127.0.0.1:9"))
    assert "s3://two/p/dvc" in shell(repository, *DVC, "remote", "list")
    written = (repository / ".dvc/config.local").stat().st_mtime_ns
    use_remote(repository, Place("two", "p", "http://127.0.0.1:9"))
    assert (repository / ".dvc/config.local").stat().st_mtime_ns == written
    shell(repository, *DVC, "remote", "add", "--local", "--default", "mine", "s3://mine/x")
    use_remote(repository, Place("three", "p", None))
    assert "s3://three" not in shell(repository, *DVC, "remote", "list")


def test_a_stage_travels_with_the_inputs_that_neither_git_nor_dvc_has(
    store: Store, repository: Path, tmp_path: Path
) -> None:
    (repository / "sounds").mkdir()
    (repository / "sounds/a.wav").write_text("a\n")
    graph = yaml.safe_load((repository / "dvc.yaml").read_text())
    graph["stages"]["first"]["deps"] = ["raw.txt", "sounds"]
    (repository / "dvc.yaml").write_text(yaml.safe_dump(graph))
    (first,) = read_graph(repository, "first")
    request = pack(store, repository, repository, first, force=False)
    assert request.inputs.keys() == {"raw.txt", "sounds"}
    assert read_request(store, publish(store, request)) == request
    base = tmp_path / "other"
    shell(tmp_path, "git", "clone", "--quiet", str(repository), str(base))
    with unpacked(store, base, request, print) as clone:
        assert (clone / "raw.txt").read_text() == "raw\n"
        assert [path.name for path in (clone / "sounds").iterdir()] == ["a.wav"]
        assert (clone / "dvc.yaml").read_bytes() == (repository / "dvc.yaml").read_bytes()
    result = StageResult("first", "ran", 1.5, {"cmd": "x"})
    assert read_result(store, publish(store, result)) == result


def test_an_unknown_key_in_meta_is_named() -> None:
    with pytest.raises(UserError, match=r"stage train has unknown keys \['pol'\]"):
        Meta.of("train", {"pol": "gpu"})


def test_dvc_reports_what_ran_and_what_did_not(repository: Path) -> None:
    assert unchanged(repository, read_graph(repository)) == {}
    assert run_one("first", repository)[0] == "ran"
    assert run_one("first", repository)[0] == "cached: nothing changed"
    assert set(unchanged(repository, read_graph(repository))) == {"first"}
    assert run_one("first", repository, force=True)[0] == "ran"
    (repository / "first.txt").unlink()
    (repository / "dvc.lock").unlink()
    assert run_one("first", repository)[0] == "cached: restored from the run cache"


def test_a_stage_that_always_runs_runs_nothing_behind_it_without_need(repository: Path) -> None:
    (repository / "dvc.yaml").write_text(
        yaml.safe_dump({"stages": {"first": STAGES["first"]} | ALWAYS_CHANGED})
    )
    outside = repository / ".echodistill/outside.txt"
    outside.parent.mkdir(exist_ok=True)
    outside.write_text("champion 1\n")
    names = ("first", "asking", "behind")
    assert [run_one(name, repository)[0] for name in names] == ["ran", "ran", "ran"]
    known = unchanged(repository, read_graph(repository))
    assert "first" in known
    assert not {"asking", "behind"} & set(known)  # what it will come to is not known before
    assert [run_one(name, repository)[0] for name in names] == [
        "cached: nothing changed",
        "ran",
        "cached: nothing changed",
    ]
    handed_over = run_stage("behind", repository, "if known", None, {}, print, lambda *_: None)
    assert handed_over.decision == "cached: nothing changed"
    outside.write_text("champion 2\n")
    assert [run_one(name, repository)[0] for name in names] == [
        "cached: nothing changed",
        "ran",
        "ran",
    ]
    assert (repository / "behind.txt").read_text() == "champion 2\n"


def test_only_known_results_are_brought_when_asked(repository: Path) -> None:
    def known() -> str:
        return run_stage("first", repository, "if known", None, {}, print, lambda *_: None).decision

    with pytest.raises(StageUnknown):
        known()
    run_one("first", repository)
    assert known() == "cached: nothing changed"
    before = (repository / "params.yaml").read_text()
    (repository / "params.yaml").write_text(before.replace("seed: ", "seed: 9"))
    with pytest.raises(StageUnknown):
        known()
    (repository / "params.yaml").write_text(before)
    (repository / "first.txt").unlink()
    assert known() == "cached: restored from the run cache"
    assert (repository / "first.txt").read_text() == "raw\n"


def test_what_a_colleague_computed_is_pulled(repository: Path, tmp_path: Path) -> None:
    """Through DVC's remote, its run cache included: the colleague's clone shares nothing else."""
    use_remote(repository, Place("bucket", "", None))
    shell(repository, *DVC, "remote", "modify", "--local", "store", "url", str(tmp_path / "remote"))
    run_one("first", repository)
    shell(repository, *DVC, "push", "--quiet", "--run-cache", "first")
    clone = tmp_path / "clone"
    shell(tmp_path, "git", "clone", "--quiet", str(repository), str(clone))
    shutil.copy(repository / "raw.txt", clone / "raw.txt")
    shutil.copy(repository / ".dvc/config.local", clone / ".dvc/config.local")
    before = (clone / "params.yaml").read_text()
    (clone / "params.yaml").write_text(before.replace("seed: ", "seed: 9"))
    assert run_one("first", clone)[0] == "ran"
    (clone / "params.yaml").write_text(before)
    assert run_one("first", clone)[0] == "cached: restored from the run cache"


def test_what_is_damaged_in_the_remote_is_not_handed_out(
    repository: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC by itself takes what a remote in S3 gives it."""
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name)  # DVC wants them to be regular files
    use_remote(repository, store.place)
    run_one("first", repository)
    shell(repository, *DVC, "push", "--quiet", "--run-cache", "first")
    (stored,) = [key for key in keys_in(store) if "/files/" in key]
    overwrite(store, stored, b"RAW\n")
    clone = tmp_path / "clone"
    shell(tmp_path, "git", "clone", "--quiet", str(repository), str(clone))
    shutil.copy(repository / "raw.txt", clone / "raw.txt")
    use_remote(clone, store.place)
    assert run_one("first", clone)[0] == "ran"
    assert (clone / "first.txt").read_text() == "raw\n"


def test_a_remote_of_the_repositorys_own_stays(repository: Path) -> None:
    shell(repository, *DVC, "remote", "add", "--default", "ours", "s3://elsewhere")
    use_remote(repository, Place("bucket", "team", "http://127.0.0.1:1"))
    assert shell(repository, *DVC, "remote", "list").split() == [
        "ours",
        "s3://elsewhere",
        "(default)",
    ]


def test_a_refusal_carries_its_message_and_a_crash_its_status(repository: Path) -> None:
    run_one("first", repository)
    with pytest.raises(StageRefused, match=r"^gate x failed: 3 of 4$"):
        run_one("refusing", repository)
    with pytest.raises(StageCrashed, match="crashing ended with status"):
        run_one("crashing", repository)


def test_a_stage_past_its_time_is_ended_with_its_tree(repository: Path) -> None:
    run_one("first", repository)
    started = time.monotonic()
    with pytest.raises(StageCrashed, match="timeout of 12 s"):
        run_one("slow", repository, timeout_s=12.0)
    assert time.monotonic() - started < 22
    assert not [
        process
        for process in psutil.process_iter(["cmdline"])
        if "slow:  40%" in " ".join(process.info["cmdline"] or [])
    ]
    assert run_one("last", repository)[0] == "ran"  # the workspace is usable


def test_a_bar_becomes_progress_and_no_line(repository: Path) -> None:
    lines: list[str] = []
    percents: list[float] = []
    run_one("first", repository)
    with pytest.raises(StageCrashed):
        run_stage(
            "slow",
            repository,
            "if changed",
            12.0,
            {},
            lines.append,
            lambda _says, percent: percents.append(percent),
        )
    assert percents == [40.0]
    assert not [line for line in lines if line.startswith("slow:")]


def test_a_killed_flow_takes_its_stages_along(tmp_path: Path) -> None:
    """Not even a ``kill -9`` of the flow may leave a training running that nobody waits for."""
    mark = tmp_path / "child"
    child = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(300)"
    code = (
        "import sys, time; from pathlib import Path; from flows.stage_process import"
        f" SupervisedProcess\nprocess = SupervisedProcess([sys.executable, '-c', {child!r}],"
        " Path('.'), {})\ntime.sleep(300)"
    )
    flow = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    while not (mark.exists() and mark.read_text()):
        time.sleep(0.05)
    pid = int(mark.read_text())
    flow.send_signal(signal.SIGKILL)
    flow.wait()
    end = time.monotonic() + 10
    while psutil.pid_exists(pid):
        assert time.monotonic() < end
        time.sleep(0.1)


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


@pytest.mark.parametrize(
    ("given", "passed"), [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")]
)
def test_threads_of_a_stage_sleep_while_they_wait(
    given: dict[str, str], passed: str, tmp_path: Path
) -> None:
    lines: list[str] = []
    run_command(
        [sys.executable, "-c", "import os; print(os.environ['OMP_WAIT_POLICY'])"],
        tmp_path,
        given,
        lines.append,
    )
    assert lines == [passed]


def test_a_command_that_refuses_is_distinguished_from_one_that_crashes(tmp_path: Path) -> None:
    def ends_with(last: str) -> list[str]:
        return run_command(
            [sys.executable, "-c", f"import sys; print('first'); sys.exit({last})"],
            tmp_path,
            {},
            lines.append,
        )

    lines: list[str] = []
    assert ends_with("0") == lines == ["first"]
    with pytest.raises(StageRefused, match=r"^no version$"):
        ends_with("'error: no version'")
    with pytest.raises(StageCrashed, match=r"ended with status 3: first$"):
        ends_with("3")


def test_a_workspace_from_before_a_commit_is_made_anew(repository: Path) -> None:
    """What a run of that name left is not taken for the code of now."""
    left = open_workspace(repository, "old-hare", ["seed=7"])
    (left / "mark").touch()
    assert (open_workspace(repository, "old-hare", ["seed=7"]) / "mark").exists()
    shell(repository, "git", "commit", "--quiet", "--allow-empty", "-m", "later")
    assert not (open_workspace(repository, "old-hare", ["seed=7"]) / "mark").exists()


def test_a_corpus_for_testing_only_has_its_own_graph_and_needs_a_model(tmp_path: Path) -> None:
    def graph(source: str, model: str) -> str:
        raw = yaml.safe_load((ROOT / "params.yaml").read_text())
        raw["corpus"]["source"], raw["base"]["model"] = source, model
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
        return whole_graph(tmp_path)

    assert [graph("builtin", "nano"), graph("avqa", "x/y"), graph("mmau", "x/y")] == [
        PIPELINE,
        PIPELINE,
        EVALUATION,
    ]
    with pytest.raises(UserError, match=r"^base\.model: nano"):
        graph("mmau", "nano")


def test_wrong_overrides_make_no_workspace(repository: Path) -> None:
    with pytest.raises(UserError, match=r"no key 'train\.nothing'"):
        open_workspace(repository, "bad", ["train.nothing=1"])
    assert not (repository / ".echodistill/workspaces").exists()


def test_inputs_outside_git_are_found(repository: Path) -> None:
    assert inputs_of_graph(repository) == [repository / "raw.txt"]


@pytest.mark.parametrize(
    ("given", "name"), [("warm-hare", "warm-hare"), ("a b/c", "a-b-c"), ("--", "run")]
)
def test_experiment_names_are_what_git_accepts(given: str, name: str) -> None:
    assert experiment_name(given) == name
