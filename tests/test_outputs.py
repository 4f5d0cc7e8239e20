"""Publishing what the stages made: complete, by content, once, and only what fits to
``dvc.lock``.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from echodistill.core.errors import UserError
from echodistill.lineage.dvc_lock import parse_lock, read_lock
from echodistill.lineage.outputs import PUBLISHED, publish_outputs
from echodistill.lineage.publish import publish_stages
from echodistill.storage.client import Store
from echodistill.storage.dvc_hashes import dvc_md5
from echodistill.storage.objects import read_list
from echodistill.storage.place import DVC, Place
from flows.remote import use_remote
from tests.faulty_proxy import Proxy
from tests.provenance_world import STAGES, make_world, write, write_lock
from tests.seaweed import Seaweed
from tests.storage_fixtures import keys_in, object_in

OUTS = {out for _, outs, _ in STAGES.values() for out in outs}


def publish(
    place: Place, folder: Path, stages: list[str] | None = None, again: bool = False
) -> dict[str, str]:
    return publish_outputs(place, folder, read_lock(folder), stages, again)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_world(tmp_path)
    return tmp_path


def run_dvc(*arguments: str, cwd: Path, **environment: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=cwd,
        env=os.environ | {"DVC_NO_ANALYTICS": "1"} | environment,
        check=True,
    )


@pytest.fixture
def clone(folder: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC repository with the same lock and the store as its remote, without any output."""
    clone = tmp_path_factory.mktemp("clone")
    stages = {
        name: {"cmd": "none", "outs": outs}
        for name, (_, outs, _) in STAGES.items()
        if "@" not in name
    }
    write(clone / "dvc.yaml", yaml.safe_dump({"stages": stages}))
    write(clone / "aws", "")  # DVC's client takes no /dev/null
    shutil.copy(folder / "dvc.lock", clone)
    run_dvc("init", "--no-scm", "-q", cwd=clone)
    use_remote(clone, store.place)
    return clone


def test_every_output_is_published_where_dvc_pulls_it(
    store: Store, folder: Path, clone: Path
) -> None:
    urls = publish(store.place, folder)
    hashes = read_lock(folder).outputs()
    assert set(urls) == set(hashes) == OUTS
    assert urls == {path: store.place.at(DVC).object_url(md5) for path, md5 in hashes.items()}
    assert set(read_list(store.at(DVC), hashes["models/student"])) == {
        "model.safetensors",
        "run.json",
        "metrics.jsonl",
    }
    run_dvc("pull", "-q", cwd=clone, AWS_CONFIG_FILE=str(clone / "aws"))
    pulled = {path for path in OUTS if not path.startswith("reports/gates")}
    assert {path: dvc_md5(clone / path) for path in pulled} == {
        path: hashes[path] for path in pulled
    }


def test_what_dvc_has_pushed_is_not_sent_again_but_what_it_leaves_out_is(
    store: Store, proxied: Store, proxy: Proxy, folder: Path, clone: Path
) -> None:
    shutil.copytree(folder / "models", clone / "models")
    aws = {"AWS_CONFIG_FILE": str(clone / "aws")}
    run_dvc("commit", "-q", "--force", "base", "train", cwd=clone)
    run_dvc("push", "-q", "base", "train", cwd=clone, **aws)
    publish(proxied.place, folder, ["base", "train"])
    assert {line.split()[0] for line, _ in proxy.seen} == {"HEAD"}
    # DVC takes a folder as complete whose list is there
    key = object_in(store.at(DVC), read_lock(folder).outputs()["models/base"], "model.safetensors")
    store.client.delete_object(Bucket=store.place.bucket, Key=key)
    run_dvc("push", "-q", "base", cwd=clone, **aws)
    assert key not in keys_in(store)
    publish(proxied.place, folder, ["base"], again=True)
    assert key in keys_in(store)


def test_the_second_time_nothing_is_asked_or_sent(
    proxied: Store, proxy: Proxy, folder: Path
) -> None:
    keys = publish(proxied.place, folder)
    sent = len(proxy.seen)
    assert sent > 0
    started = time.monotonic()
    assert publish(proxied.place, folder) == keys
    assert time.monotonic() - started < 0.5
    assert len(proxy.seen) == sent
    # what changed is published, and only that
    write(folder / "reports/promotion.json", '{"promote": false}')
    write_lock(folder)
    again = publish(proxied.place, folder)
    assert {path for path in again if again[path] != keys[path]} == {"reports/promotion.json"}
    assert sum(line.startswith("PUT") for line, _ in proxy.seen[sent:]) == 1


def test_another_store_gets_everything(store: Store, folder: Path) -> None:
    keys = publish(store.place, folder)
    other = store.place.at("other")
    there = publish(other, folder)
    assert set(there) == set(keys)
    assert all(url.startswith(f"{other.url(other.prefix)}/dvc/") for url in there.values())
    assert len(keys_in(store)) == 2 * len(keys_in(store.at("other")))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"place": 1}', b'{"outputs": {"data/corpus": 3}}']
)
def test_a_damaged_memory_is_made_anew(store: Store, folder: Path, content: bytes) -> None:
    keys = publish(store.place, folder, ["promote"])
    (folder / PUBLISHED).write_bytes(content)
    assert publish(store.place, folder, ["promote"]) == keys
    assert (
        json.loads((folder / PUBLISHED).read_text())["outputs"]["reports/promotion.json"]
        == read_lock(folder).outputs()["reports/promotion.json"]
    )


def test_stages_can_be_chosen(store: Store, folder: Path) -> None:
    assert set(publish(store.place, folder, ["gate", "promote"])) == {
        "reports/gates/corpus.json",
        "reports/promotion.json",
    }
    with pytest.raises(UserError, match=r"no stage 'nonsense', it has corpus, gate@corpus"):
        publish(store.place, folder, ["nonsense"])


def test_what_is_missing_or_changed_stops_it_before_anything_is_sent(
    store: Store, folder: Path
) -> None:
    (folder / "reports/promotion.json").rename(folder / "elsewhere")
    with pytest.raises(UserError, match=r"reports/promotion.json is missing.*echodistill run"):
        publish(store.place, folder)
    (folder / "elsewhere").rename(folder / "reports/promotion.json")
    write(folder / "models/student/notes.txt", "added by hand")
    with pytest.raises(UserError, match=r"models/student differs from dvc.lock.*echodistill run"):
        publish(store.place, folder)
    assert keys_in(store) == []
    (folder / "dvc.lock").unlink()
    with pytest.raises(UserError, match=r"dvc.lock is missing"):
        publish(store.place, folder)


def test_links_are_followed(store: Store, folder: Path, tmp_path: Path) -> None:
    plain = publish(store.place, folder, ["train", "promote"])
    cache = tmp_path / "cache"
    cache.mkdir()
    for path in (folder / "models/student/model.safetensors", folder / "reports/promotion.json"):
        path.rename(cache / path.name)
        path.symlink_to(cache / path.name)
    (folder / "models/student").rename(cache / "student")
    (folder / "models/student").symlink_to(cache / "student")
    (folder / PUBLISHED).unlink()
    assert publish(store.place, folder, ["train", "promote"]) == plain


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
    run_dvc("init", "--no-scm", "-q", cwd=tmp_path)
    run_dvc("add", "-q", "data", "one.bin", cwd=tmp_path)
    for name in ("data", "one.bin"):
        (row,) = yaml.safe_load((tmp_path / f"{name}.dvc").read_text())["outs"]
        assert dvc_md5(tmp_path / name) == row["md5"]
    assert dvc_md5(tmp_path / "nowhere") is None


def test_a_lock_of_another_form_is_told() -> None:
    for content in (b"[1]", b"stages: 3", b"stages: {a: {deps: [x]}}", b"{"):
        with pytest.raises(UserError, match=r"here/dvc.lock is not a lock"):
            parse_lock(content, "here/dvc.lock")


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
    shown = cli("publish", "promote", "gate@corpus", ECHODISTILL_S3=place.url(place.prefix))
    assert shown.returncode == 0, shown.stderr
    rows = dict(line.split("  ") for line in shown.stdout.splitlines())
    assert set(rows) == {"reports/gates/corpus.json", "reports/promotion.json"}
    assert all(url.startswith(f"{place.url(place.prefix)}/") for url in rows.values())
    for text in (shown.stdout, shown.stderr, (folder / PUBLISHED).read_text()):
        assert weed.secret_key not in text


def test_a_wrong_store_is_told_before_any_work(
    place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECHODISTILL_S3", "s3://no-such-bucket-here/x")
    with pytest.raises(UserError, match="no-such-bucket-here"):
        publish_stages(None)
    assert not (folder / PUBLISHED).exists()
