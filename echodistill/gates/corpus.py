"""Check a corpus before anything is built on it: it is whole, sound, and free of leaks between
splits.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy.special import bdtrc

from echodistill.audio.levels import SAMPLE_RATE, SILENCE_DBFS, dbfs
from echodistill.audio.stored import decode_flac
from echodistill.core.errors import UserError
from echodistill.core.records import ALL_SPLITS, SPLITS, Clip, Quarantined, Question, read_rows
from echodistill.data.origin import shares
from echodistill.data.store import Corpus
from echodistill.evaluation.answer_patterns import normalise
from echodistill.evaluation.open_answers import normal_form
from echodistill.gates.expect import HOLDS, Between, Expect, InSet, Table, Unique
from echodistill.gates.transcripts import caption_checks, transcript_checks
from echodistill.params.corpus import CorpusParams
from echodistill.params.whole import Params

STORED_AS = f"{SAMPLE_RATE} Hz, 1 channel"
# a result that is less probable than this does not count as chance: e.g. 5 of 5 right answers that
# are the first of four choices, or 10 of 10 that are the first of two
CHANCE = 1e-3


def corpus_checks(folder: Path, params: Params) -> list[Expect]:
    """Return expectations about a corpus folder. Every clip is decoded."""
    clips = read_rows(folder / "clips.parquet", Clip)
    questions = read_rows(folder / "questions.parquet", Question)
    quarantined = read_rows(folder / "quarantine.parquet", Quarantined)
    return [
        *_clips(Corpus(folder), clips, params.corpus),
        *_questions(clips, questions),
        *transcript_checks(clips, questions),
        *caption_checks(clips),
        *_positions(questions, params.gates.max_position_share),
        *_splits(clips, questions, params.corpus.needed_splits),
        *_quarantine(questions, quarantined, params.corpus),
    ]


def corpus_notes(folder: Path) -> list[str]:
    """Return the name of every quarantined row with the reason: the corpus is built without it, so
    figures are about the other rows.
    """
    return [
        f"{row.row}: {row.reason}" for row in read_rows(folder / "quarantine.parquet", Quarantined)
    ]


@dataclass(frozen=True)
class _Decoded:
    """The result of decoding a stored clip."""

    decodes: bool
    duration_s: float
    level_dbfs: float
    stored_as: str


def _decode(corpus: Corpus, clip: Clip) -> _Decoded:
    try:
        decoded = decode_flac(corpus.stored_bytes(clip.clip_id), clip.clip_id)
    except UserError:
        # the other values cannot be measured and are taken from the row: the only fault is that the
        # clip does not decode
        return _Decoded(False, clip.duration_s, clip.level_dbfs, STORED_AS)
    channels = decoded.source_channels
    stored_as = f"{decoded.source_rate} Hz, {channels} channel" + ("s" if channels != 1 else "")
    return _Decoded(True, len(decoded.waveform) / SAMPLE_RATE, dbfs(decoded.waveform), stored_as)


def _clips(corpus: Corpus, clips: Sequence[Clip], settings: CorpusParams) -> list[Expect]:
    decoded = [_decode(corpus, clip) for clip in clips]
    table = Table.of(
        "clips",
        "clip_id",
        {
            "clip_id": [clip.clip_id for clip in clips],
            "split": [clip.split for clip in clips],
            "decodes": [row.decodes for row in decoded],
            "duration_s": [row.duration_s for row in decoded],
            "level_dbfs": [row.level_dbfs for row in decoded],
            "stored_as": [row.stored_as for row in decoded],
        },
    )
    low, high = settings.min_duration_s, settings.max_duration_s
    return [
        table.expect("clip_id", Unique(), "no clip id is given twice"),
        table.expect(
            "split", InSet(ALL_SPLITS), f"every clip is in {', '.join(SPLITS[:-1])} or {SPLITS[-1]}"
        ),
        table.expect("decodes", HOLDS, "every clip decodes"),
        table.expect("duration_s", Between(low, high), f"every clip lasts {low:g} to {high:g} s"),
        table.expect(
            "level_dbfs", Between(SILENCE_DBFS), f"no clip is silent (below {SILENCE_DBFS:g} dBFS)"
        ),
        table.expect("stored_as", InSet((STORED_AS,)), "every clip is stored as 16 kHz mono"),
        _audio(clips).expect(
            "splits",
            Between(1, 1),
            "no audio in two splits: give its clips one group, or leave one of them out",
        ),
    ]


def _audio(clips: Sequence[Clip]) -> Table:
    """Return one row for each recording, named by all its clips. Clips share a recording if their
    stored audio or their source audio is equal, since either is a leak.
    """
    clips_of: dict[str, dict[str, str]] = defaultdict(dict)
    for clip in clips:
        for key in (clip.sha256, clip.source_sha256):
            clips_of[key][clip.clip_id] = clip.split
    splits = {" = ".join(sorted(alike)): len(set(alike.values())) for alike in clips_of.values()}
    return Table.of("audio", "clips", {"clips": list(splits), "splits": list(splits.values())})


def _questions(clips: Sequence[Clip], questions: Sequence[Question]) -> list[Expect]:
    split_of = {clip.clip_id: clip.split for clip in clips}
    table = Table.of(
        "questions",
        "question_id",
        {
            "question_id": [row.question_id for row in questions],
            "clip_exists": [row.clip_id in split_of for row in questions],
            "split_of_clip": [
                split_of.get(row.clip_id, row.split) == row.split for row in questions
            ],
            "answer_stands": [_has_answer(row) for row in questions],
            "choices_distinct": [_are_distinct(row.choices) for row in questions],
        },
    )
    return [
        table.expect("question_id", Unique(), "no question id is given twice"),
        table.expect("clip_exists", HOLDS, "every question's clip is in the corpus"),
        table.expect("split_of_clip", HOLDS, "every question is in the split of its clip"),
        table.expect(
            "answer_stands",
            HOLDS,
            "every answer is the choice its index points at, or an open answer",
        ),
        table.expect("choices_distinct", HOLDS, "no question has the same choice twice"),
    ]


def _has_answer(question: Question) -> bool:
    """Return whether the answer is the choice that its number states or, to an open question, a
    text in which a response can be right.
    """
    index = question.answer_index
    if index is None:
        return not question.choices and bool(normal_form(question.answer))
    return 0 <= index < len(question.choices) and question.choices[index] == question.answer


def _are_distinct(choices: Sequence[str]) -> bool:
    """Return whether all choices differ for the parser of answers, for which "Low." equals
    "low".
    """
    return len({normalise(choice).casefold() for choice in choices}) == len(choices)


def _positions(questions: Sequence[Question], max_share: float) -> list[Expect]:
    """Return the expectation about the positions of right answers, over all splits and in each."""
    names, shares = [], []
    for part in ("all splits", *SPLITS):
        asked = [row for row in questions if row.split == part or part == "all splits"]
        for position, share in sorted(
            _suspicious_shares([row for row in asked if len(row.choices) > 1]).items()
        ):
            names.append(f"{part}, position {position}")
            shares.append(share)
    if not names:
        return []
    table = Table.of("positions", "position", {"position": names, "suspicious_share": shares})
    description = (
        f"no position of the choices holds more than {100 * max_share:g} % of the right answers"
    )
    return [table.expect("suspicious_share", Between(0.0, max_share), description)]


def _suspicious_shares(questions: Sequence[Question]) -> dict[int, float]:
    """Return each position's share of the right answers; 0 if so many would be there by chance with
    evenly placed answers.
    """
    shares = {}
    places = [row.answer_index for row in questions if row.answer_index is not None]
    for position, count in Counter(places).items():
        even = sum(
            1.0 / len(row.choices) for row in questions if position < len(row.choices)
        ) / len(questions)
        by_chance = float(bdtrc(count - 1, len(questions), even))
        shares[position] = count / len(questions) if by_chance < CHANCE else 0.0
    return shares


def _splits(
    clips: Sequence[Clip], questions: Sequence[Question], needed: Sequence[str]
) -> list[Expect]:
    asked = {row.clip_id for row in questions}
    usable = Counter(clip.split for clip in clips if clip.clip_id in asked)
    splits = Table.of(
        "splits",
        "split",
        {"split": needed, "clips_with_questions": [usable[split] for split in needed]},
    )
    splits_of: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        splits_of[clip.group].add(clip.split)
    names = sorted(splits_of)
    groups = Table.of(
        "groups", "group", {"group": names, "splits": [len(splits_of[name]) for name in names]}
    )
    description = (
        f"{' and '.join(needed)} {'each have' if len(needed) > 1 else 'has'} a clip with a question"
    )
    return [
        splits.expect("clips_with_questions", Between(1), description),
        groups.expect("splits", Between(1, 1), "no group in two splits"),
    ]


def _quarantine(
    questions: Sequence[Question], quarantined: Sequence[Quarantined], settings: CorpusParams
) -> list[Expect]:
    found = shares(settings, (row.split for row in questions), quarantined)
    table = Table.of(
        "quarantine",
        "source",
        {"source": [one.source for one in found], "share_of_rows": [one.value for one in found]},
    )
    max_share = settings.max_quarantined_share
    description = f"at most {100 * max_share:g} % of a source's rows are quarantined"
    return [table.expect("share_of_rows", Between(0.0, max_share), description)]
