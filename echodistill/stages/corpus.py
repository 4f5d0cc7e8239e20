"""Stage ``corpus``: clips and questions from a source into shards and parquet. Bad rows are put aside with their reason."""

import hashlib
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from echodistill.atomic import atomic_path
from echodistill.audio.files import encode_flac
from echodistill.audio.levels import SAMPLE_RATE, SILENCE_DBFS, dbfs
from echodistill.datasets import builtin, folder, fsdd
from echodistill.datasets.sources import SourceClip, SourceClips, SourceFailed, SourceQuestion
from echodistill.datasets.store import ShardWriter
from echodistill.errors import UserError
from echodistill.params import CorpusParams, Params
from echodistill.progress import track
from echodistill.records import Clip, Quarantined, Question, write_rows
from echodistill.stages.entry import run_stage
from echodistill.workers import ordered_map


def corpus(params: Params, out: Path) -> None:
    """Make the corpus folder ``out``. Raises ``UserError`` when too many rows are bad or a split is empty."""
    settings = params.corpus
    with builtin.Espeak() if settings.source == "builtin" else nullcontext() as espeak:
        if isinstance(espeak, builtin.Espeak):
            found = builtin.read(settings, params.seed, espeak)
        else:
            found = (folder if settings.source == "folder" else fsdd).read(settings, params.seed)
        with atomic_path(out) as temporary:
            temporary.mkdir()
            _store(found, settings, temporary)


@dataclass(frozen=True)
class _Encoded:
    """A clip ready to be stored: its row but for its place, and its FLAC bytes."""

    row: Clip
    content: bytes


def _store(found: SourceClips, settings: CorpusParams, out: Path) -> None:
    clips, questions, quarantined = [], [], list(found.quarantined)
    encoded = ordered_map(lambda source: _encode(source, found.splits[source.group], settings), found.clips)
    with ShardWriter(out) as shards:
        for source, result in track(zip(found.clips, encoded, strict=True), len(found.clips), "corpus", "clips"):
            if isinstance(result, str):
                quarantined += [Quarantined(_row_name(source, asked), result) for asked in source.questions]
                continue
            shard, offset = shards.add(f"{hashlib.sha256(source.clip_id.encode()).hexdigest()[:16]}.flac", result.content)
            clips.append(replace(result.row, shard=shard, offset=offset))
            for asked in source.questions:
                index = asked.choices.index(asked.answer)
                questions.append(
                    Question(asked.question_id, source.clip_id, clips[-1].split, asked.question, asked.choices, asked.answer, index)
                )
    write_rows(out / "quarantine.parquet", Quarantined, quarantined)
    _judge(clips, len(questions), quarantined, settings)
    write_rows(out / "clips.parquet", Clip, clips)
    write_rows(out / "questions.parquet", Question, questions)


def _encode(source: SourceClip, split: str, settings: CorpusParams) -> _Encoded | str:
    """Decode, judge and encode one clip, or say what is wrong with it: the order of the rows must stay.

    Raises ``SourceFailed`` when it is not the clip that is wrong.
    """
    try:
        decoded, source_sha256 = source.read()
        duration_s, level = len(decoded.waveform) / SAMPLE_RATE, dbfs(decoded.waveform)
        if not settings.min_duration_s <= duration_s <= settings.max_duration_s:
            allowed = f"{settings.min_duration_s:g} to {settings.max_duration_s:g} s"
            raise UserError(f"{source.source}: {duration_s:.2f} s is outside corpus.min_duration_s to max_duration_s ({allowed})")
        if level < SILENCE_DBFS:
            raise UserError(f"{source.source}: silent ({level:.0f} dBFS)")
    except SourceFailed:
        raise
    except UserError as error:
        return str(error).removeprefix(f"{source.source}: ")  # it is named beside its reason
    content = encode_flac(decoded.waveform)
    row = Clip(
        clip_id=source.clip_id,
        group=source.group,
        split=split,
        transcript=source.transcript,
        source=source.source,
        source_sha256=source_sha256,
        sha256=hashlib.sha256(content).hexdigest(),
        source_rate=decoded.source_rate,
        duration_s=duration_s,
        level_dbfs=level,
        shard="",
        offset=0,
        size=len(content),
    )
    return _Encoded(row, content)


def _row_name(source: SourceClip, asked: SourceQuestion) -> str:
    return source.source if len(source.questions) == 1 else f"{source.source}, question {asked.question_id}"


def _judge(clips: list[Clip], questions: int, quarantined: list[Quarantined], settings: CorpusParams) -> None:
    """Say what was put aside, and stop when it is too much."""
    for row in quarantined[:10]:
        print(f"quarantined {row.row}: {row.reason}")
    total = questions + len(quarantined)
    print(f"{len(clips)} clips with {questions} questions kept, {len(quarantined)} rows quarantined")
    if len(quarantined) > settings.max_quarantined_share * total:
        first = quarantined[0]
        raise UserError(
            f"{len(quarantined)} of {total} rows are bad, more than corpus.max_quarantined_share = "
            f"{settings.max_quarantined_share:g} allows. The first: {first.row}: {first.reason}"
        )
    for split in ("train", "test"):
        if not any(clip.split == split for clip in clips):
            raise UserError(
                f"no clip is left in split {split}: give more groups (speakers), or change corpus.test_share or the split column"
            )


if __name__ == "__main__":
    run_stage(corpus, sections=("seed", "corpus"))
