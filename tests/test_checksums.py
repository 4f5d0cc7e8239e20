"""Tests that a changed bit in an artifact is found by every reader, which names the file and the
cure.
"""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from echodistill.core.checksums import SUMS, verify_checksums, write_checksums
from echodistill.core.errors import UserError
from echodistill.data.store import Corpus
from echodistill.gates.compare import students_checks
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.checkpoint import open_base, open_model
from echodistill.models.layout import RUN, read_run
from echodistill.stages import references as references_stage
from echodistill.stages.entry import params_view
from echodistill.stages.gate import gate
from echodistill.teachers.references import ROWS, TARGETS, open_references
from echodistill.tracking.champion import identity_of
from tests.test_stages import params_of


def flip(path: Path, at: float) -> None:
    """Change one bit, a share ``at`` of the way through the file, and leave its time and size as
    they are.
    """
    before, content = path.stat(), bytearray(path.read_bytes())
    content[min(int(at * len(content)), len(content) - 1)] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture(scope="module")
def base(tiny_llm: AudioLLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "base"
    tiny_llm.save(folder)
    (folder / "base.json").write_text(json.dumps({"revision": "r1", "clean_acc": 0.9}))
    write_checksums(folder)
    return folder


@pytest.fixture(scope="module")
def student(tiny_llm: AudioLLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student") / "student"
    tiny_llm.save(folder)
    (folder / RUN).write_text(
        json.dumps({"fingerprint": "f", "method": "sft", "steps": 1, "weights": "full"})
    )
    write_checksums(folder)
    return folder


@pytest.fixture(scope="module")
def references(base: Path, tiny_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("references")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECHODISTILL_CACHE", str(folder / "cache"))
        params = params_view(
            params_of(generation={"max_new_tokens": 3}), ("seed", "generation", "references")
        )
        references_stage.references(params, folder / "references", tiny_corpus.folder, base)
    return folder / "references"


@pytest.fixture
def refused() -> Callable[[Path, Callable[[], object]], None]:
    """Checks that a reader refuses the folder for each of its files, wherever in it the bit is, and
    takes it again afterwards.
    """

    def check(folder: Path, read: Callable[[], object]) -> None:
        read()
        for path in sorted(folder.iterdir()):
            whole = path.read_bytes()
            for at in (0.0, 0.3, 0.6, 1.0):
                flip(path, at)
                with pytest.raises(
                    UserError, match=rf"^{folder} is damaged \(.*: (delete it|restore it)"
                ) as raised:
                    read()
                assert path.name in str(raised.value) or path.name == SUMS
                path.write_bytes(whole)
        read()

    return check


def test_readers_of_references_notice_every_bit(
    references: Path, refused: Callable[[Path, Callable[[], object]], None]
) -> None:
    assert {path.name for path in references.iterdir()} == {ROWS, TARGETS, SUMS}
    refused(references, lambda: open_references(references))
    (references / SUMS).rename(references / "away")
    with pytest.raises(UserError, match="SHA256SUMS is missing"):
        open_references(references)
    (references / "away").rename(references / SUMS)


def test_readers_of_a_base_notice_every_bit(
    base: Path, refused: Callable[[Path, Callable[[], object]], None]
) -> None:
    refused(base, lambda: open_base(base, "cpu"))


def test_readers_of_a_student_notice_every_bit(
    student: Path, refused: Callable[[Path, Callable[[], object]], None]
) -> None:
    refused(student, lambda: open_model(student, None, "cpu"))
    refused(student, lambda: identity_of(student))


def test_a_model_of_an_earlier_version_is_taken_without_checksums(student: Path) -> None:
    (student / SUMS).rename(student / "away")
    open_model(student, None, "cpu")
    (student / "away").rename(student / SUMS)


def test_what_reads_run_json_alone_reads_no_weights(student: Path) -> None:
    weights = student / "model.safetensors"
    whole = weights.read_bytes()
    flip(weights, 0.5)
    assert read_run(student)["steps"] == 1
    weights.write_bytes(whole)
    text = (student / RUN).read_bytes()
    (student / RUN).write_bytes(text.replace(b'"steps": 1', b'"steps": 9'))
    with pytest.raises(UserError, match=r"changed since they were written: run\.json"):
        read_run(student)
    (student / RUN).write_bytes(text)


def test_a_gate_refuses_a_damaged_folder(base: Path, tmp_path: Path) -> None:
    facts = base / "base.json"
    whole = facts.read_bytes()
    facts.write_bytes(whole.replace(b"0.9", b"0.8"))
    with pytest.raises(UserError, match=r"changed since they were written: base\.json"):
        gate(params_of(), "base", tmp_path / "verdict.json", base)
    facts.write_bytes(whole)


def test_a_damaged_student_of_a_comparison_is_named(tmp_path: Path) -> None:
    settings = params_of().compare
    folder = tmp_path / f"{settings.trained[0]}-{settings.seeds[0]}"
    folder.mkdir()
    for name in ("run.json", "metrics.jsonl"):
        (folder / name).write_text('{"steps": 1}\n')
    write_checksums(folder)
    (folder / "metrics.jsonl").write_text('{"steps": 2}\n')
    with pytest.raises(
        UserError,
        match=rf"{folder.name} is damaged \(changed since they were written: metrics\.jsonl\)",
    ):
        students_checks(tmp_path, settings)


@pytest.mark.parametrize(
    "content",
    ["", "\n", "no digest  file\n", f"{'0' * 64} file\n", f"{'0' * 63}  file\n", f"{'0' * 64}  \n"],
)
def test_damaged_sums_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    (tmp_path / SUMS).write_text(content)
    with pytest.raises(UserError, match=rf"is damaged \({SUMS} cannot be read"):
        verify_checksums(tmp_path, "mend it")


def test_files_that_are_missing_are_named_and_others_may_be_there(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"file {number}").write_text(str(number))
    (tmp_path / "below").mkdir()
    (tmp_path / "below/größe").write_text("")
    write_checksums(tmp_path)
    (tmp_path / "README.md").write_text("added since")
    verify_checksums(tmp_path, "mend it")
    subprocess.run(["sha256sum", "--quiet", "-c", SUMS], cwd=tmp_path, check=True)
    for path in tmp_path.glob("file*"):
        path.unlink()
    with pytest.raises(
        UserError, match=r"\(missing: file 0, file 1, file 2, file 3, file 4 and 3 more\): mend it$"
    ):
        verify_checksums(tmp_path, "mend it")
    with pytest.raises(UserError, match=r"does not list other"):
        verify_checksums(tmp_path, "mend it", ["other"])
