"""From a registered version back to the recordings: real S3, real MLflow, and everything that can
go wrong with either.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from echodistill.core.errors import UserError
from echodistill.import_graph import ROOT
from echodistill.lineage.dvc_lock import read_lock
from echodistill.lineage.outputs import PUBLISHED, publish_outputs
from echodistill.lineage.publish import REGISTERED
from echodistill.lineage.report import show
from echodistill.storage.client import Store, open_store
from echodistill.storage.objects import verify
from echodistill.storage.place import DVC, parse_place
from echodistill.tracking.runs import read_run_file, run_tags, tag_name
from tests.provenance_world import CLIPS, STAGES, make_world, register, write, write_lock
from tests.seaweed import Seaweed
from tests.storage_fixtures import BUCKET, LOADER, object_in, overwrite

FLOW = {
    "ECHODISTILL_FLOW_RUN_ID": "flow-77",
    "ECHODISTILL_FLOW_RUN_URL": "http://admin:hush@prefect.team/runs/flow-77",
}
OUTS = [out for _, outs, _ in STAGES.values() for out in outs]


def md5_in(key: str) -> str:
    return "".join(key.split("/")[-2:])


class World:
    """A folder whose student is registered and published from a flow run."""

    def __init__(self, folder: Path, store: Store, said: str) -> None:
        self.folder, self.store, self.said = folder, store, said
        self.run_id = said.split("MLflow run ")[1].split(",")[0]
        self.tags = run_tags(self.run_id)
        self.keys = {path: self.tags[f"s3.{path}"].removeprefix(f"s3://{BUCKET}/") for path in OUTS}

    def key_in(self, folder: str, name: str) -> str:
        return object_in(self.store.at(DVC), md5_in(self.keys[folder]), name)

    @contextmanager
    def broken(self, key: str, content: bytes | None) -> Iterator[None]:
        """An object deleted, or with other bytes; as it was again at the end."""
        before = self.store.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        if content is None:
            self.store.client.delete_object(Bucket=BUCKET, Key=key)
        else:
            overwrite(self.store, key, content)
        yield
        overwrite(self.store, key, before)


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def world(mlflow_store: Path, weed: Seaweed, patch: pytest.MonkeyPatch) -> World:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        patch.delenv(name, raising=False)
    url = f"s3://{BUCKET}/provenance/{os.getpid()}"
    for name, value in {**weed.environment(), **FLOW, "ECHODISTILL_S3": url}.items():
        patch.setenv(name, value)
    patch.setattr("botocore.loaders.create_loader", lambda search_path=None: LOADER)
    make_world(mlflow_store.parent)
    said = register()
    return World(mlflow_store.parent, open_store(parse_place(url, weed.endpoint)), said)


def told(reference: str = "echodistill@champion") -> tuple[bool, str]:
    lines: list[str] = []
    fine = show(reference, lines.append)
    return fine, "\n".join(lines)


def test_the_run_carries_everything_that_leads_on(world: World) -> None:
    assert f"outputs in {world.store.place.url(world.store.place.prefix)}" in world.said
    assert (
        world.tags["dvc.lock"]
        == hashlib.sha256((world.folder / "dvc.lock").read_bytes()).hexdigest()
    )
    assert {"git.rev", "git.dirty", "input.data/corpus", "input.models/base"} <= world.tags.keys()
    assert world.tags["prefect.flow_run_id"] == "flow-77"
    assert world.tags["prefect.flow_run_url"] == "http://prefect.team/runs/flow-77"
    states = {verify(world.store.at(DVC), md5_in(key))[0] for key in world.keys.values()}
    assert states == {"ok"}
    assert read_run_file(world.run_id, "dvc.lock") == (world.folder / "dvc.lock").read_bytes()
    record = json.loads(read_run_file(world.run_id, "lineage.json") or b"")
    assert record["addresses"]["models/student"] == world.tags["s3.models/student"]
    assert record["stages"]["corpus"]["params"]["params.yaml"]["corpus"]["source"] == "folder"
    assert record["flow_run"] == {"id": "flow-77", "url": "http://prefect.team/runs/flow-77"}
    assert read_run_file(world.run_id, "nothing.json") is None


def test_the_whole_chain_matches(world: World) -> None:
    fine, text = told()
    assert fine
    assert text.splitlines()[0] == "echodistill version 1 (candidate, champion)"
    assert f"MLflow run  {world.run_id}" in text
    assert "flow run    flow-77 http://prefect.team/runs/flow-77" in text
    assert "weights in MLflow: the same as published" in text
    for path, key in world.keys.items():
        assert f"s3://{BUCKET}/{key}" in text, path
    # back from the model: what was read stands behind what was made from it, what judges it comes
    # last
    places = [
        text.index(f"\n{name}\n")
        for name in ("train", "base", "gate@corpus", "corpus", "evaluate", "promote")
    ]
    assert places == sorted(places)
    assert text.index("reads data/raw") < text.index("the same here")
    assert "corpus.sha256" not in text.replace(
        "$ python -m echodistill.stages.corpus data/corpus data/raw build/code/corpus.sha256", ""
    )
    raw = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path("data/raw").glob("*.wav")
    }
    for name, sha256 in raw.items():
        assert any(
            line.split() == ["ok", name, split, sha256, "ok", f"data/raw/{name}"]
            for line in text.splitlines()
            for split in (
                "train",
                "test",
            )
        )
    objects = len([line for line in text.splitlines() if line.startswith("  ok ")]) - CLIPS
    assert (
        text.splitlines()[-1]
        == f"matches: {objects} objects: {objects} ok; {CLIPS} clips: {CLIPS} ok; {CLIPS} sources:"
        f" {CLIPS} ok"
    )
    assert told("echodistill/1") == (fine, text)


@pytest.mark.parametrize("state", ["missing", "damaged"])
@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("models/base", ""),
        ("models/base", "model.safetensors"),
        ("reports/promotion.json", ""),
        ("reports/gates/corpus.json", ""),
        ("data/corpus", "questions.parquet"),
    ],
)
def test_an_object_that_is_gone_or_overwritten_is_named(
    world: World, folder: str, name: str, state: str
) -> None:
    key = world.key_in(folder, name) if name else world.keys[folder]
    with world.broken(key, None if state == "missing" else b"other bytes"):
        fine, text = told()
    assert not fine
    path = f"{folder}/{name}" if name else folder
    assert f"{state:<8} {path}  s3://{BUCKET}/{key}" in text.splitlines()
    assert text.splitlines()[-1].startswith("DIFFERS: ")
    assert f", 1 {state}; {CLIPS} clips: {CLIPS} ok" in text.splitlines()[-1]
    assert "echodistill publish" in text


def test_without_its_list_of_files_no_clip_is_listed_and_that_is_told(world: World) -> None:
    with world.broken(world.keys["data/corpus"], None):
        fine, text = told()
    assert not fine
    assert "== clips: none can be listed" in text


def test_publishing_again_replaces_what_is_missing_or_damaged(world: World) -> None:
    key = world.key_in("models/student", "model.safetensors")
    overwrite(world.store, key, b"x")
    world.store.client.delete_object(Bucket=BUCKET, Key=world.keys["data/corpus"])
    assert not told()[0]
    lock = read_lock(world.folder)
    publish_outputs(world.store.place, world.folder, lock)
    assert not told()[0]  # remembered as published
    publish_outputs(world.store.place, world.folder, lock, again=True)
    assert told()[0]


def test_the_same_size_is_not_enough(world: World) -> None:
    key = world.key_in("models/base", "model.safetensors")
    with world.broken(key, b"BASE WEIGHTS"):
        assert "damaged  models/base/model.safetensors" in told()[1]


def test_a_damaged_shard_is_told_clip_by_clip(world: World) -> None:
    key = world.key_in("data/corpus", "audio-00000.tar")
    shard = bytearray(world.store.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    clip = pq.ParquetFile(world.folder / "data/corpus/clips.parquet").read().to_pylist()[2]
    shard[clip["offset"] + 50] ^= 1
    with world.broken(key, bytes(shard)):
        fine, text = told()
    assert not fine
    assert [
        line.split()[1]
        for line in text.splitlines()
        if line.startswith("  damaged") and ".wav" in line
    ] == [clip["clip_id"]]
    assert f"{CLIPS} clips: {CLIPS - 1} ok, 1 damaged" in text
    with world.broken(key, bytes(shard[: clip["offset"]])):
        assert f"{CLIPS} clips: 2 ok, {CLIPS - 2} damaged" in told()[1]
    with world.broken(key, None):
        assert f"{CLIPS} clips: {CLIPS} missing" in told()[1]


def test_a_table_of_clips_that_was_tampered_with_is_not_believed(world: World) -> None:
    table = pq.read_table(world.folder / "data/corpus/clips.parquet").slice(0, 2)
    content = io.BytesIO()
    pq.write_table(table, content)
    with world.broken(world.key_in("data/corpus", "clips.parquet"), content.getvalue()):
        fine, text = told()
    assert not fine
    assert "cannot be listed: clips.parquet is damaged" in text
    assert "damaged  data/corpus/clips.parquet" in text


def test_a_changed_recording_is_named(world: World) -> None:
    recording = Path("data/raw/3.wav")
    before = recording.read_bytes()
    recording.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    fine, text = told()
    recording.unlink()
    gone = told()
    recording.write_bytes(before)
    assert not fine
    assert [line.split()[1] for line in text.splitlines() if "changed  data/raw/3.wav" in line] == [
        "3.wav"
    ]
    assert f"{CLIPS} sources: {CLIPS - 1} ok, 1 changed" in text
    assert "data/raw  md5" in text
    assert "has other content here now" in text
    # what is not here cannot be compared: that is told, and is no fault
    assert gone[0]
    assert f"{CLIPS} sources: {CLIPS - 1} ok, 1 not here" in gone[1]


def test_weights_in_mlflow_are_compared(world: World) -> None:
    (weights,) = world.folder.glob("mlartifacts/**/artifacts/student/model.safetensors")
    before = weights.read_bytes()
    weights.write_bytes(b"student Weights")
    assert "damaged  weights in MLflow: not those that were registered" in told()[1]
    weights.unlink()
    fine, text = told()
    weights.write_bytes(before)
    assert not fine
    assert "missing  weights in MLflow: MLflow has no such files" in text
    assert told()[0]


@pytest.mark.parametrize("content", [None, b"stages: {}"])
def test_a_lock_that_is_gone_or_overwritten_is_named(world: World, content: bytes | None) -> None:
    (file,) = world.folder.glob(f"mlartifacts/{world.run_id}/artifacts/dvc.lock")
    before = file.read_bytes()
    file.unlink()
    if content:
        file.write_bytes(content)
    fine, text = told()
    file.write_bytes(before)
    assert not fine
    state = "damaged" if content else "missing"
    assert f"{state:<8} dvc.lock  in the MLflow run" in text.splitlines()


def test_a_lineage_record_that_was_edited_is_noticed(world: World, tmp_path: Path) -> None:
    (file,) = world.folder.glob(f"mlartifacts/{world.run_id}/artifacts/lineage.json")
    before = file.read_text()
    record = json.loads(before)
    record["stages"]["train"]["deps"]["data/corpus"] = "0" * 32 + ".dir"
    file.write_text(json.dumps(record))
    fine, text = told()
    file.write_text("{}")
    with pytest.raises(UserError, match=r"lineage.json of MLflow run .* is not a lineage record"):
        told()
    file.write_text(before)
    assert not fine
    assert "changed  lineage.json" in text


def test_a_run_that_names_another_lock_is_noticed(world: World) -> None:
    from mlflow import MlflowClient

    MlflowClient().set_tag(world.run_id, "dvc.lock", "0" * 64)
    fine, text = told()
    MlflowClient().set_tag(world.run_id, "dvc.lock", world.tags["dvc.lock"])
    assert not fine
    assert "changed  dvc.lock  in the MLflow run" in text


def run_command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Through the command line, outside the repository."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("ECHODISTILL_")
    }
    environment |= {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "echodistill.cli", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_another_machine_needs_mlflow_and_s3_alone(
    world: World, tmp_path: Path, weed: Seaweed
) -> None:
    shown = run_command("provenance", "echodistill@candidate", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[-1].endswith(
        f"{CLIPS} clips: {CLIPS} ok; {CLIPS} sources: {CLIPS} not here"
    )
    assert list(tmp_path.iterdir()) == []
    with world.broken(world.keys["reports/metrics.json"], None):
        failed = run_command("provenance", "echodistill@candidate", cwd=tmp_path)
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert "missing  reports/metrics.json" in failed.stdout


def test_no_secret_is_kept_or_printed(world: World, weed: Seaweed) -> None:
    kept = (world.folder / PUBLISHED).read_text() + (world.folder / REGISTERED).read_text()
    recorded = (read_run_file(world.run_id, "lineage.json") or b"").decode() + json.dumps(
        run_tags(world.run_id)
    )
    for text in (kept, recorded, told()[1], world.said):
        assert weed.secret_key not in text
        assert "hush" not in text


def test_doing_it_again_asks_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert register() == world.said  # other tests have changed the record since
    code = (
        "import sys; sys.modules['boto3'] = sys.modules['mlflow'] = None\n"
        "from tests.provenance_world import register; print(register())"
    )
    again = subprocess.run(
        [sys.executable, "-c", code],
        cwd=world.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert again.stdout.strip() == world.said, again.stderr
    # nor does a run without a flow
    for name in FLOW:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", world.store.place.endpoint or "")
    assert register() == world.said


@pytest.mark.parametrize(
    "path", ["models/student/model.safetensors", "reports/metrics.json", "reports/promotion.json"]
)
def test_what_was_changed_after_its_stage_is_not_registered(world: World, path: str) -> None:
    file = world.folder / path
    before = file.read_bytes()
    file.write_bytes(before + b" ")
    (world.folder / REGISTERED).unlink(missing_ok=True)
    try:
        with pytest.raises(UserError, match="is not what its stage made: run `echodistill run`"):
            register()
    finally:
        file.write_bytes(before)
    assert not (world.folder / REGISTERED).exists()
    assert register() == world.said


def test_without_s3_the_addresses_of_the_same_lock_stay(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ECHODISTILL_S3")
    before = read_run_file(world.run_id, "lineage.json")
    assert "outputs in" not in register()
    assert read_run_file(world.run_id, "lineage.json") == before
    (world.folder / REGISTERED).unlink()


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("echodistill", "MODEL@alias or MODEL/version"),
        ("echodistill@", "MODEL@alias or MODEL/version"),
        ("echodistill/one", "MODEL@alias or MODEL/version"),
        ("other@champion", "no registered model 'other'; there is echodistill"),
        ("o'ther/1", 'no registered model "o\'ther"'),
        ("echodistill@winner", "no alias 'winner'; it has candidate, champion. Its versions: 1"),
        ("echodistill/9", "no version 9; it has 1"),
    ],
)
def test_what_does_not_exist_is_told_with_what_does(
    world: World, reference: str, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        told(reference)
    assert message in str(caught.value)


def test_a_store_that_is_away_is_one_clear_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setattr(
        "echodistill.lineage.verify.open_store", lambda place: open_store(place, attempts=1)
    )
    with pytest.raises(UserError, match=r"127.0.0.1:9 cannot be reached"):
        told()


def test_a_lock_that_does_not_fit_together_is_not_registered(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("data", "models", "reports", "params.yaml", "dvc.lock", "dvc.yaml"):
        source = world.folder / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    lock = (tmp_path / "dvc.lock").read_text()
    base = next(
        line
        for line in lock.splitlines()
        if "md5: " in line and world.tags["input.models/base"] in line
    )
    write(tmp_path / "dvc.lock", lock.replace(base, "      md5: 00.dir", 1))
    with pytest.raises(
        UserError, match=r"stage train read another models/base than there is now.*echodistill run"
    ):
        register()


def test_without_a_store_the_hashes_are_told_and_the_way_to_publish(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*FLOW, "ECHODISTILL_S3"):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    make_world(tmp_path)
    run = json.loads((tmp_path / "models/student/run.json").read_text()) | {
        "fingerprint": "unpublished"
    }
    write(tmp_path / "models/student/run.json", json.dumps(run))
    write_lock(tmp_path)
    assert "version 2 " in register()
    fine, text = told("echodistill/2")
    assert fine
    assert "published   no" in text
    assert "set ECHODISTILL_S3 and run `echodistill register` again" in text
    assert "matches: 2 objects: 2 ok" in text
    # the first flow run and the first store link themselves, though nothing ran
    monkeypatch.setenv("ECHODISTILL_FLOW_RUN_ID", "flow-78")
    register()
    assert "flow run    flow-78" in told("echodistill/2")[1]
    monkeypatch.setenv("ECHODISTILL_S3", world.store.place.url(world.store.place.prefix))
    assert "outputs in s3://" in register()
    assert told("echodistill/2")[0]


def test_tags_of_unusual_paths_are_taken_by_mlflow(world: World) -> None:
    from mlflow import MlflowClient

    paths = [
        "data/ä b.parquet",
        "a/../b",
        "/abs",
        "a%b",
        "a&b",
        "x" * 300,
        "x" * 299 + "y",
        "a//b",
        "",
        "./a",
        "data/corpus",
    ]
    names = [tag_name("s3", path) for path in paths]
    assert len(set(names)) == len(paths)
    assert names[-1] == "s3.data/corpus"
    run = MlflowClient().create_run("0")
    for name in names:
        MlflowClient().set_tag(run.info.run_id, name, "x")
    assert set(names) <= run_tags(run.info.run_id).keys()
