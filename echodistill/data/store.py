"""Store clips in a few large shard files instead of thousands of small files, which are slow in DVC
and S3.
"""

import hashlib
import tarfile
from collections.abc import Iterable
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from types import TracebackType

from echodistill.audio.levels import Waveform
from echodistill.audio.stored import decode_flac
from echodistill.core.errors import UserError
from echodistill.core.prompt_style import PromptStyle
from echodistill.core.records import PRETRAIN, Clip, Question, read_rows
from echodistill.models.prompts import clip_text

SHARD_BYTES = 256 * 1024 * 1024


class ShardWriter:
    """Writer of FLAC members into ``audio-00000.tar`` and so on below a folder, with constant
    metadata, so that the same input gives the same bytes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shard: tarfile.TarFile | None = None
        self._count = 0

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shard is not None:
            self._shard.close()

    def add(self, name: str, content: bytes) -> tuple[str, int]:
        """Append one member. Return the shard's file name and the offset of the member's bytes."""
        if self._shard is None or self._shard.offset > SHARD_BYTES:
            if self._shard is not None:
                self._shard.close()
            self._shard = tarfile.open(  # noqa: SIM115  closed by the next shard or on exit
                self._folder / f"audio-{self._count:05d}.tar", "w", format=tarfile.USTAR_FORMAT
            )
            self._count += 1
        header = tarfile.TarInfo(name)
        header.size = len(content)
        offset = self._shard.offset + tarfile.BLOCKSIZE
        self._shard.addfile(header, BytesIO(content))
        return Path(str(self._shard.name)).name, offset


class Corpus:
    """A corpus folder opened for reading: clips, questions and decoded audio."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clips = {clip.clip_id: clip for clip in read_rows(folder / "clips.parquet", Clip)}
        self.questions = {
            row.question_id: row for row in read_rows(folder / "questions.parquet", Question)
        }
        self.waveform = lru_cache(maxsize=4096)(self._read)

    def questions_of(self, split: str) -> list[Question]:
        return [question for question in self.questions.values() if question.split == split]

    def clips_of(self, split: str) -> list[Clip]:
        return [clip for clip in self.clips.values() if clip.split == split]

    @property
    def prompt_style(self) -> PromptStyle:
        """Return the style that all questions of the corpus have."""
        return next((question.style for question in self.questions.values()), "direct")

    @property
    def pretraining_split(self) -> str:
        """Return the split that ``nano`` is pre-trained on."""
        return PRETRAIN if self.clips_of(PRETRAIN) else "train"

    def text_of(self, clip_id: str) -> str:
        """Return the clip's transcript and caption as text that can replace the clip; empty where
        it has neither.
        """
        clip = self.clips[clip_id]
        return clip_text(clip.transcript or "", clip.caption or "")

    def lacking(self, questions: Iterable[Question], field: str) -> list[str]:
        """Return the ids of the questions for which ``field``, of ``Question`` or of its ``Clip``,
        is not filled in. A caption stands for a ``transcript``.
        """
        found = []
        for question in questions:
            row = question if hasattr(question, field) else self.clips[question.clip_id]
            value = getattr(row, field)
            if field == "transcript":
                value = self.text_of(question.clip_id)
            if not (value.strip() if isinstance(value, str) else value not in (None, ())):
                found.append(question.question_id)
        return found

    def stored_bytes(self, clip_id: str) -> bytes:
        """Return the clip's FLAC bytes. Raise ``UserError`` when they differ from the ones that the
        corpus was made with, or when there is no such clip.
        """
        clip = self._clip(clip_id)
        shard = self.folder / clip.shard
        try:
            with shard.open("rb") as file:
                file.seek(clip.offset)
                content = file.read(clip.size)
        except OSError as error:
            raise UserError(
                f"{shard}: {error.strerror}: delete {self.folder} and run `echodistill run corpus`"
            ) from error
        if hashlib.sha256(content).hexdigest() != clip.sha256:
            raise UserError(
                f"{shard}: the bytes of clip {clip_id} are damaged: delete {self.folder} and run"
                " `echodistill run corpus`"
            )
        return content

    def _clip(self, clip_id: str) -> Clip:
        if clip_id not in self.clips:
            raise UserError(
                f"{self.folder} has no clip {clip_id!r}, it was made anew since: run `echodistill"
                " run`"
            )
        return self.clips[clip_id]

    def _read(self, clip_id: str) -> Waveform:
        """Return the clip's waveform, shape (samples,), 16 kHz mono float32. It is cached and
        read-only.
        """
        waveform = decode_flac(self.stored_bytes(clip_id), clip_id).waveform
        waveform.flags.writeable = False
        return waveform
