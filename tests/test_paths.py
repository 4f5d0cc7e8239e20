"""Paths that are no recordings, and folders that DVC cannot hash or does not watch: each is named,
none hangs.
"""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from echodistill.audio.files import read_file, write_wav
from echodistill.audio.recordings import list_recordings
from echodistill.core.errors import UserError
from echodistill.core.paths import check_hashable, fault_of_path, linked_folder_fault
from echodistill.data import benchmarks, fsdd
from echodistill.overrides import check_inputs
from echodistill.params.whole import load_params
from tests.corpus_params import corpus_params
from tests.folders import ROW, hum, only_question, read, read_jsonl, write_recordings


def bind(path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket may be no longer than 107 bytes
    listening.bind(path.name)
    os.chdir(here)
    listening.close()


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (lambda path: path.mkdir(), "a folder, not a recording"),
    "pipe": (lambda path: os.mkfifo(path), "a named pipe (FIFO), not a recording"),
    "socket": (bind, "a socket, not a recording"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "a device, not a recording"),
    "broken link": (lambda path: path.symlink_to("nowhere"), "a broken link to nowhere"),
    "link to itself": (lambda path: path.symlink_to(path.name), "a broken link to x.wav"),
    "link to a folder": (lambda path: path.symlink_to("."), "a folder, not a recording"),
    "nothing": (lambda path: None, "no such audio file"),
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_named_and_loses_its_row_alone(kind: str, tmp_path: Path) -> None:
    root = write_recordings(tmp_path)
    make, fault = NO_FILES[kind]
    make(root / "x.wav")
    assert fault_of_path(root / "x.wav") == fault
    with pytest.raises(UserError, match=re.escape(f"x.wav: {fault}")):
        read_file(root / "x.wav")
    found = read_jsonl(root, ROW, ROW | {"id": "q2", "audio_path": "x.wav"})
    (row,) = found.quarantined
    assert row.row == "manifest.jsonl:2 (id q2)"
    assert row.reason == "no such audio file: x.wav" + (f" ({fault})" if kind != "nothing" else "")
    assert len(found.clips) == 1


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "broken link", "link to itself"])
@pytest.mark.parametrize("place", ["x.wav", "sub/x.wav", "sub/deep/x"])
def test_what_dvc_cannot_hash_is_named_before_it_tries(
    kind: str, place: str, tmp_path: Path
) -> None:
    path = tmp_path / "raw" / place
    path.parent.mkdir(parents=True)
    NO_FILES[kind][0](path)
    message = (
        rf"^corpus\.path: {re.escape(str(path))}: a .*: DVC hashes all of .*: put a file there, or"
        r" remove it$"
    )
    with pytest.raises(UserError, match=message):
        check_hashable("corpus.path", tmp_path / "raw")


@pytest.mark.parametrize(
    "name", [b"\xff\xfe.wav", b"caf\xe9.wav", b"\xed\xa0\x80.wav", b"sub\xff/a.wav"]
)
def test_a_name_that_is_not_utf_8_is_shown(name: bytes, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    with pytest.raises(
        UserError, match=r"the name .*\\x[0-9a-f]{2}.* is not UTF-8, which DVC needs: rename it"
    ) as error:
        check_hashable("corpus.path", tmp_path)
    str(error.value).encode("utf-8")


def test_what_dvc_can_hash_passes(tmp_path: Path) -> None:
    root = write_recordings(tmp_path)
    (root / "a folder.wav").mkdir()
    (root / "link.wav").symlink_to("a.wav")
    (root / "Grüße 你好.wav").write_bytes(b"")
    (root / "linked").symlink_to(root / "sub")
    (root / ".git").mkdir()
    os.mkfifo(root / ".git" / "fsmonitor")  # DVC does not look there
    check_hashable("corpus.path", root)


@pytest.mark.parametrize("key", ["corpus.path", "corpus.test.path", "mixes.recordings"])
def test_a_run_looks_at_every_folder_that_it_starts_from(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = load_params(Path("params.yaml"))
    monkeypatch.chdir(tmp_path)
    for folder in (params.corpus.path, params.corpus.test.path, params.mixes.recordings):
        (tmp_path / folder).mkdir(parents=True)
    check_inputs(params)
    folder = {"corpus.path": params.corpus.path, "corpus.test.path": params.corpus.test.path}.get(
        key, params.mixes.recordings
    )
    os.mkfifo(tmp_path / folder / "x")
    with pytest.raises(UserError, match=rf"^{re.escape(key)}: .*x: a named pipe"):
        check_inputs(params)


# linked folders: DVC looks at nothing behind them


LINKED = r"it lies behind .*, a link to a folder, and DVC would notice no change there: .*cp -rs "


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A folder of recordings whose ``far`` is a link to another one."""
    (tmp_path / "raw").mkdir()
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    write_wav(tmp_path / "elsewhere" / "deep" / "a.wav", hum(0.1))
    write_recordings(tmp_path / "raw")
    (tmp_path / "raw" / "far").symlink_to(tmp_path / "elsewhere")
    return tmp_path / "raw"


@pytest.mark.parametrize(
    "written", ["far/deep/a.wav", "far/deep/a", "./far/deep/a.wav", "sub/../far/deep/a.wav"]
)
def test_a_recording_behind_a_linked_folder_is_quarantined(linked: Path, written: str) -> None:
    found = read_jsonl(linked, ROW, ROW | {"id": "q2", "audio_path": written})
    assert len(found.clips) == 1
    (row,) = found.quarantined
    assert re.match(rf"audio path .*: {LINKED}{linked.parent}/elsewhere {linked}/far", row.reason)


def test_the_cure_works(linked: Path) -> None:
    row = ROW | {"audio_path": "far/deep/a.wav"}
    command = re.search(r"\((rm .* && cp -rs .*?)\)", read_jsonl(linked, row).quarantined[0].reason)
    assert command
    subprocess.run(command[1], shell=True, check=True)
    assert only_question(read_jsonl(linked, row)).answer == "blue"


def test_manifests_noises_and_digits_behind_linked_folders_are_refused(
    linked: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere" / "m.jsonl").write_text("{}")
    with pytest.raises(UserError, match=LINKED):
        read(linked, "far/m.jsonl")
    for pattern in ("far/*.jsonl", "*/m.jsonl"):
        with pytest.raises(UserError, match=LINKED):
            benchmarks.read(corpus_params(source="mmau", path=str(linked), manifest=pattern), 1)
    with pytest.raises(UserError, match=rf"mixes\.recordings, kind (far|sub): {LINKED}"):
        list_recordings(linked, ("far",))
    (linked / "sub" / "deeper").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=rf"mixes\.recordings, kind (far|sub): {LINKED}"):
        list_recordings(linked, ("sub",))
    (linked / "recordings").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=LINKED):
        fsdd.read(corpus_params(source="fsdd", path=str(linked)), 1)


def test_the_folder_itself_may_be_a_link(linked: Path, tmp_path: Path) -> None:
    root = tmp_path / "link"
    root.symlink_to(linked)
    assert linked_folder_fault(root / "sub" / "e.wav", root) == ""
    assert only_question(read_jsonl(root, ROW | {"audio_path": "sub/e.wav"})).answer == "blue"


def test_a_folder_named_like_a_recording_is_no_noise(tmp_path: Path) -> None:
    (tmp_path / "rain" / "set.wav").mkdir(parents=True)
    write_wav(tmp_path / "rain" / "set.wav" / "a.wav", hum(0.1))
    assert list_recordings(tmp_path, ("rain",)) == {"rain": ("rain/set.wav/a.wav",)}


def test_dvc_looks_at_nothing_behind_a_linked_folder(tmp_path: Path) -> None:
    """Why it is refused: once DVC does, it need not be."""
    (tmp_path / "raw").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "raw" / "far").symlink_to(tmp_path / "elsewhere")
    script = (
        "import sys; from dvc.repo import Repo; from dvc.fs import LocalFileSystem as"
        " F;print(sorted(F().find(sys.argv[1])))"
    )
    (tmp_path / "elsewhere" / "a.wav").write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "raw")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "a.wav" not in done.stdout
