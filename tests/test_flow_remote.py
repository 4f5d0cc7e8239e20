"""The flows use DVC's remote, and stages travel to other machines through it."""

import shutil
from pathlib import Path

import pytest
import yaml

from echodistill.storage.client import Store
from echodistill.storage.place import Place
from flows.graph import read_graph
from flows.remote import use_remote
from flows.stage_request import StageResult, pack, publish, read_request, read_result, unpacked
from tests.flow_repository import DVC, run_one, shell
from tests.flow_repository import repository as repository
from tests.storage_fixtures import keys_in, overwrite


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
