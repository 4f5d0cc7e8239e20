"""Publishing what the stages made: complete, by content, once, and only what fits to
``dvc.lock``.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from echodistill.core.errors import UserError
from echodistill.lineage.dvc_lock import dvc_md5, parse_lock, read_lock
from echodistill.lineage.outputs import PUBLISHED, kind_of, publish_outputs
from echodistill.lineage.publish import publish_stages
from echodistill.storage.client import Store
from echodistill.storage.folders import fetch_folder, read_manifest
from echodistill.storage.place import Place
from tests.faulty_proxy import Proxy
from tests.provenance_world import STAGES, make_world, write, write_lock
from tests.seaweed import Seaweed
from tests.storage_fixtures import keys_in, metadata_of

OUTS = {out for _, outs, _ in STAGES.values() for out in outs}
LABELS = {"mlflow-run": "r1", "git-rev": "abc"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_world(tmp_path)
    return tmp_path


def test_every_output_and_the_lock_are_published_with_the_run_id(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    keys = publish_outputs(store.place, folder, LABELS)
    assert set(keys) == OUTS | {"dvc.lock"}
    assert all(metadata_of(store, key) == LABELS for key in keys_in(store))
    kinds = {
        path: key.removeprefix(f"{store.place.prefix}/").split("/")[0] for path, key in keys.items()
    }
    assert kinds["data/corpus"] == "datasets"
    assert kinds["models/student"] == "models"
    assert kinds["reports/gates/corpus.json"] == "reports"
    assert kinds["dvc.lock"] == "locks"
    assert hashlib.sha256((folder / "dvc.lock").read_bytes()).hexdigest() in keys["dvc.lock"]
    assert {entry.path for entry in read_manifest(store, keys["models/student"])} == {
        "model.safetensors",
        "run.json",
        "metrics.jsonl",
    }
    fetch_folder(store, keys["data/corpus"], tmp_path / "back")
    assert dvc_md5(tmp_path / "back") == read_lock(folder).stages["corpus"].outs["data/corpus"]


def test_the_second_time_nothing_is_asked_or_sent(
    proxied: Store, proxy: Proxy, folder: Path
) -> None:
    keys = publish_outputs(proxied.place, folder, LABELS)
    sent = len(proxy.seen)
    assert sent > 0
    started = time.monotonic()
    assert publish_outputs(proxied.place, folder, {"mlflow-run": "r2"}) == keys
    assert time.monotonic() - started < 0.5
    assert len(proxy.seen) == sent
    # what changed is published, and only that
    write(folder / "reports/promotion.json", '{"promote": false}')
    write_lock(folder)
    again = publish_outputs(proxied.place, folder, LABELS)
    assert {path for path in again if again[path] != keys[path]} == {
        "reports/promotion.json",
        "dvc.lock",
    }
    assert sum(line.startswith("PUT") for line, _ in proxy.seen[sent:]) == 2


def test_another_store_gets_everything(store: Store, folder: Path) -> None:
    keys = publish_outputs(store.place, folder, LABELS)
    there = publish_outputs(
        replace(store.place, prefix=f"{store.place.prefix}/other"), folder, LABELS
    )
    assert set(there) == set(keys)
    assert all(key.startswith(f"{store.place.prefix}/other/") for key in there.values())


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"place": 1}', b'{"outputs": {"data/corpus": 3}}']
)
def test_a_damaged_memory_is_made_anew(store: Store, folder: Path, content: bytes) -> None:
    keys = publish_outputs(store.place, folder, LABELS, ["promote"])
    (folder / PUBLISHED).write_bytes(content)
    assert publish_outputs(store.place, folder, LABELS, ["promote"]) == keys
    assert (
        json.loads((folder / PUBLISHED).read_text())["outputs"]["reports/promotion.json"]["key"]
        == keys["reports/promotion.json"]
    )


def test_stages_can_be_chosen(store: Store, folder: Path) -> None:
    assert set(publish_outputs(store.place, folder, LABELS, ["gate", "promote"])) == {
        "reports/gates/corpus.json",
        "reports/promotion.json",
        "dvc.lock",
    }
    with pytest.raises(UserError, match=r"no stage 'nonsense', it has corpus, gate@corpus"):
        publish_outputs(store.place, folder, LABELS, ["nonsense"])


def test_what_is_missing_or_changed_stops_it_before_anything_is_sent(
    store: Store, folder: Path
) -> None:
    (folder / "reports/promotion.json").rename(folder / "elsewhere")
    with pytest.raises(UserError, match=r"reports/promotion.json is missing.*echodistill run"):
        publish_outputs(store.place, folder, LABELS)
    (folder / "elsewhere").rename(folder / "reports/promotion.json")
    write(folder / "models/student/notes.txt", "added by hand")
    with pytest.raises(
        UserError, match=r"models/student is not what dvc.lock says.*echodistill run"
    ):
        publish_outputs(store.place, folder, LABELS)
    assert keys_in(store) == []
    (folder / "dvc.lock").unlink()
    with pytest.raises(UserError, match=r"dvc.lock is missing"):
        publish_outputs(store.place, folder, LABELS)


def test_links_are_followed(store: Store, folder: Path, tmp_path: Path) -> None:
    plain = publish_outputs(store.place, folder, LABELS, ["train", "promote"])
    cache = tmp_path / "cache"
    cache.mkdir()
    for path in (folder / "models/student/model.safetensors", folder / "reports/promotion.json"):
        path.rename(cache / path.name)
        path.symlink_to(cache / path.name)
    (folder / "models/student").rename(cache / "student")
    (folder / "models/student").symlink_to(cache / "student")
    (folder / PUBLISHED).unlink()
    assert publish_outputs(store.place, folder, LABELS, ["train", "promote"]) == plain


def test_hashes_are_those_of_dvc(tmp_path: Path) -> None:
    for name, content in {
        "b.txt": "b",
        "a/c.txt": "c",
        "a.txt": "",
        "ä b.txt": "\r\n",
        "B.txt": "x",
    }.items():
        write(tmp_path / "data" / name, content)
    write(tmp_path / "one.bin", "one")
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    for command in (["init", "--no-scm", "-q"], ["add", "-q", "data", "one.bin"]):
        subprocess.run(
            [sys.executable, "-m", "dvc", *command], cwd=tmp_path, env=environment, check=True
        )
    for name in ("data", "one.bin"):
        (row,) = yaml.safe_load((tmp_path / f"{name}.dvc").read_text())["outs"]
        assert dvc_md5(tmp_path / name) == row["md5"]
    assert dvc_md5(tmp_path / "nowhere") is None


def test_a_lock_of_another_form_is_told() -> None:
    for content in (b"[1]", b"stages: 3", b"stages: {a: {deps: [x]}}", b"{"):
        with pytest.raises(UserError, match=r"here/dvc.lock is not a lock"):
            parse_lock(content, "here/dvc.lock")


def test_the_kind_is_in_the_path() -> None:
    assert [
        kind_of(path)
        for path in (
            "data/references",
            "data/answers/base.parquet",
            "data/mixes",
            "models/x",
            "made",
        )
    ] == [
        "references",
        "answers",
        "datasets",
        "models",
        "datasets",
    ]


def cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "echodistill.cli", *arguments]
    return subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(root)} | environment,
        capture_output=True,
        text=True,
    )


def test_the_command_prints_a_line_an_output_and_keeps_the_secret(
    place: Place, weed: Seaweed, folder: Path
) -> None:
    without = cli("publish")
    assert without.returncode == 1
    assert "ECHODISTILL_S3 is not set" in without.stderr
    assert "services env" in without.stderr
    (folder / "models/student/run.json").unlink()  # no student, no MLflow run to name
    shown = cli("publish", "promote", "gate@corpus", ECHODISTILL_S3=place.url(place.prefix))
    assert shown.returncode == 0, shown.stderr
    rows = dict(line.split("  ") for line in shown.stdout.splitlines())
    assert set(rows) == {"reports/gates/corpus.json", "reports/promotion.json", "dvc.lock"}
    assert all(url.startswith(f"{place.url(place.prefix)}/") for url in rows.values())
    for text in (shown.stdout, shown.stderr, (folder / PUBLISHED).read_text()):
        assert weed.secret_key not in text


def test_a_wrong_store_is_told_before_any_work(
    place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECHODISTILL_S3", "s3://no-such-bucket-here/x")
    with pytest.raises(UserError, match="no-such-bucket-here"):
        publish_stages(Path("models/student"), None)
    assert not (folder / PUBLISHED).exists()


def test_objects_name_the_run_only_of_a_student_made_from_them(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, mlflow_store: Path
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ECHODISTILL_S3", store.place.url(store.place.prefix))
    monkeypatch.setenv("ECHODISTILL_FLOW_RUN_ID", "f-1")
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    # the base was made anew, the student not yet
    lock["stages"]["train"]["deps"][1]["md5"] = "0" * 32 + ".dir"
    write(folder / "dvc.lock", yaml.safe_dump(lock))
    publish_stages(Path("models/student"), ["base"])
    first = {key: metadata_of(store, key) for key in keys_in(store)}
    assert all(
        found and found["prefect-flow-run"] == "f-1" and "mlflow-run" not in found
        for found in first.values()
    )
    write_lock(folder)
    publish_stages(Path("models/student"), ["promote"])
    later = [metadata_of(store, key) for key in keys_in(store) if key not in first]
    assert len(later) == 2
    assert len({found["mlflow-run"] for found in later if found}) == 1
