"""Stage ``corpus``: write the clips and questions of a source as shards and parquet. Bad rows are
quarantined with their reasons.
"""

import hashlib
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from operator import attrgetter
from pathlib import Path

from echodistill.core.atomic import atomic_path
from echodistill.core.counted import counted
from echodistill.core.errors import UserError
from echodistill.core.progress import track
from echodistill.core.prompt_style import PromptStyle
from echodistill.core.records import (
    ALL_SPLITS,
    PRETRAIN,
    SPLITS,
    Clip,
    Quarantined,
    Question,
    write_rows,
)
from echodistill.data import benchmarks, builtin, folder, fsdd, separate_test_source
from echodistill.data.encoding import Encoded, Encoder, fetch, probe
from echodistill.data.missing import lacks_audio
from echodistill.data.origin import origin, shares
from echodistill.data.reasons import kinds_of
from echodistill.data.repeated import repeated_in_later_split, settled_splits
from echodistill.data.sources import SourceClip, SourceClips
from echodistill.data.store import ShardWriter
from echodistill.params.corpus import CorpusParams
from echodistill.params.whole import Params
from echodistill.scale_out import ClusterThreshold, Pool, Threads, open_pool
from echodistill.stages.entry import run_stage
from echodistill.workers import ordered_map

# Decoders and the FLAC encoder release the interpreter lock, so on a few cores threads are as fast
# as processes and need no copies between them.
LOCAL_CLUSTER = ClusterThreshold(items=5_000, cores=8)
QUARANTINE_LIST = Path(".echodistill/quarantined.txt")
"""File with all bad rows of a corpus that was not made because of them."""
SHOWN_ROWS = 3
"""Number of quarantined rows that are printed of each kind; rows without their recording are all
printed.
"""


def corpus(params: Params, out: Path, address: str | None = None) -> None:
    """Write the corpus folder ``out``. Raise ``UserError`` if too many rows are bad or a split is
    empty.

    Clips are decoded, judged, hashed and encoded on this machine's cores, or only fetched here and
    the rest is done on the Dask cluster at ``address``.
    """
    settings = params.corpus
    uses_espeak = "builtin" in (settings.source, settings.test.source)
    with builtin.Espeak() if uses_espeak else nullcontext() as espeak:
        read = partial(_read, seed=params.seed, espeak=espeak)
        found = (
            read(settings)
            if settings.test.source is None
            else separate_test_source.read_both(settings, read)
        )
        # builtin waits for the synthesiser's processes, one per core, and a local cluster would
        # only take their time
        count = 0 if uses_espeak else len(found.clips)
        with (
            atomic_path(out) as temporary,
            open_pool(address, Threads(), count, LOCAL_CLUSTER, probe) as pool,
        ):
            temporary.mkdir()
            _store(found, settings, params.prompt.style, temporary, pool)


def _read(settings: CorpusParams, seed: int, espeak: builtin.Espeak | None) -> SourceClips:
    if settings.source == "builtin":
        assert espeak
        return builtin.read(settings, seed, espeak)
    if settings.source == "folder":
        return folder.read(settings, seed)
    if settings.source == "fsdd":
        return fsdd.read(settings, seed)
    return benchmarks.read(settings, seed)


def _store(
    found: SourceClips, settings: CorpusParams, style: PromptStyle, out: Path, pool: Pool
) -> None:
    quarantined = list(found.quarantined)
    stored: list[tuple[SourceClip, Clip]] = []
    trimmed = 0
    encoder = Encoder(settings.min_duration_s, settings.max_duration_s, settings.trim_excess_s)
    if pool.shares_files:
        encoded = pool.map(encoder, found.clips)
    else:
        encoded = pool.map(encoder, ordered_map(fetch, found.clips), attrgetter("size"))
    with ShardWriter(out) as shards:
        for source, result in track(
            zip(found.clips, encoded, strict=True), len(found.clips), "corpus", "clips"
        ):
            if isinstance(result, str):
                quarantined += _quarantine(source, result, found, settings)
                continue
            trimmed += result.trimmed
            shard, offset = shards.add(
                f"{hashlib.sha256(source.clip_id.encode()).hexdigest()[:16]}.flac", result.content
            )
            stored.append((source, _row(source, found.splits[source.group], result, shard, offset)))
    if trimmed:
        print(
            f"{counted(trimmed, 'clip', 'was/were')} longer than corpus.max_duration_s by up to"
            f" corpus.trim_excess_s,"
            " and cut to it"
        )
    rows = [row for _, row in stored]
    splits = settled_splits(found, rows, settings.test_groups)
    repeated = repeated_in_later_split(rows, splits)
    quarantined += [
        row
        for source, _ in stored
        if source.clip_id in repeated
        for row in _quarantine(source, repeated[source.clip_id], found, settings)
    ]
    kept = [
        (source, replace(row, split=splits[row.group]))
        for source, row in stored
        if source.clip_id not in repeated
    ]
    questions = [
        Question(
            asked.question_id,
            clip.clip_id,
            clip.split,
            asked.question,
            asked.choices,
            asked.answer,
            asked.choices.index(asked.answer) if asked.choices else None,
            style,
            asked.task,
            asked.solution,
        )
        for source, clip in kept
        for asked in source.questions
    ]
    write_rows(out / "quarantine.parquet", Quarantined, quarantined)
    _judge(questions, quarantined, settings)
    write_rows(out / "clips.parquet", Clip, [clip for _, clip in kept])
    write_rows(out / "questions.parquet", Question, questions)


def _quarantine(
    source: SourceClip, reason: str, found: SourceClips, settings: CorpusParams
) -> list[Quarantined]:
    """Return the quarantined rows about a clip that is left out."""
    name = origin(settings, found.splits[source.group] == "test")
    return [
        Quarantined(f"{name}{source.source} (id {asked.question_id})", reason)
        for asked in source.questions
    ]


def _row(source: SourceClip, split: str, encoded: Encoded, shard: str, offset: int) -> Clip:
    return Clip(
        clip_id=source.clip_id,
        group=source.group,
        split=split,
        transcript=source.transcript,
        caption=source.caption,
        source=source.source,
        source_sha256=encoded.source_sha256,
        sha256=encoded.sha256,
        source_rate=encoded.source_rate,
        duration_s=encoded.duration_s,
        level_dbfs=encoded.level_dbfs,
        shard=shard,
        offset=offset,
        size=len(encoded.content),
    )


def _judge(
    questions: list[Question], quarantined: list[Quarantined], settings: CorpusParams
) -> None:
    """Print which rows were quarantined. Raise ``UserError`` if they are too many of a source, or
    if a needed split is empty.
    """
    lacking = [row for row in quarantined if lacks_audio(row)]
    kinds = kinds_of(quarantined, SHOWN_ROWS)
    # a missing recording is always named, since one that is not listed is not fetched again
    for row in [
        *lacking,
        *(row for kind in kinds for row in kind.examples if not lacks_audio(row)),
    ]:
        print(f"quarantined {row.row}: {row.reason}")
    clips = {row.clip_id for row in questions}
    print(
        f"{counted(len(clips), 'clip')} with {counted(len(questions), 'question')} kept,"
        f" {counted(len(quarantined), 'row')}"
        f" quarantined, {len(lacking)} of them for a missing recording"
    )
    for kind in kinds:
        print(f"  {kind.line}")
    splits = [row.split for row in questions]
    listed = SPLITS if PRETRAIN not in splits else ALL_SPLITS
    print("questions: " + ", ".join(f"{split} {splits.count(split)}" for split in listed))
    for share in shares(settings, splits, quarantined):
        if share.value > settings.max_quarantined_share:
            with atomic_path(QUARANTINE_LIST) as temporary:
                temporary.write_text(
                    "".join(f"{row.row}: {row.reason}\n" for row in quarantined), encoding="utf-8"
                )
            reasons = "; ".join(kind.line for kind in kinds_of(share.quarantined, 0))
            raise UserError(
                f"{share.bad} of {counted(share.rows, 'row')} of {share.source}"
                f" {'is' if share.bad == 1 else 'are'} bad, more than"
                f" corpus.max_quarantined_share = {settings.max_quarantined_share:g} allows: fix"
                f" these rows, or allow more. {reasons}. {QUARANTINE_LIST} lists them all"
            )
    for split in settings.needed_splits:
        if split not in splits:
            cure = "give more groups (speakers), or change corpus.test_share or the split column"
            if split == "train":
                cure += (
                    "; to evaluate a model on these rows and train nothing, set corpus.test_share=1"
                )
            raise UserError(
                f"no clip is left in split {split}:"
                f" {cure if settings.test.source is None else 'fix the quarantined rows'}"
            )
    QUARANTINE_LIST.unlink(missing_ok=True)
    if "validation" not in splits and "train" in splits:
        judged = "decision" if "decision" in splits else "test"
        print(
            "no validation split, because there are too few groups for corpus.validation_share, or"
            f" no row's split says validation: a nano is judged on the {judged} split. For one,"
            " raise corpus.validation_share or give more groups, or write validation in the column"
            " split of some groups' rows"
        )
    if "decision" not in splits and "train" in splits:
        print(
            "no decision split, because there are too few groups for corpus.decision_share, or no"
            " row's split says decision: no student can be promoted. For one, raise"
            " corpus.decision_share or give more groups, or write decision in the column split of"
            " some groups' rows"
        )


if __name__ == "__main__":
    run_stage(corpus, sections=("seed", "corpus", "prompt.style"), on_workers=True)
