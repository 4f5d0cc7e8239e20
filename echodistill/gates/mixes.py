"""Check the noise recipes: the mixes have the asked SNR, are complete for the test, and leak
nothing into training.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path

from echodistill.audio.kinds import CLEAN, CROWD, condition_name
from echodistill.audio.mixing import Mix
from echodistill.core.records import GRIDS, Clip, GridRow, MixCheck, Question, read_rows
from echodistill.data.mixes.noise_settings import NoiseSettings, read_noise
from echodistill.data.mixes.sources import babble_split
from echodistill.gates.expect import HOLDS, Between, Expect, Table, Unique, number
from echodistill.gates.grid import grid_checks, wanted_cells
from echodistill.gates.recordings import recordings_checks, recordings_notes
from echodistill.params.mixes import MixesParams
from echodistill.params.whole import Params


def mixes_checks(folder: Path, corpus_folder: Path, params: Params) -> list[Expect]:
    """Return expectations about a mixes folder made from the corpus in ``corpus_folder``."""
    mixes = read_rows(folder / "mixes.parquet", Mix)
    checks = read_rows(folder / "checks.parquet", MixCheck)
    clips = read_rows(corpus_folder / "clips.parquet", Clip)
    split_of = {clip.clip_id: clip.split for clip in clips}
    questions = read_rows(corpus_folder / "questions.parquet", Question)
    grids = {split: read_rows(folder / name, GridRow) for split, name in GRIDS.items()}
    noise = read_noise(folder)
    return [
        *_recipes(mixes, checks, split_of, params.mixes, noise),
        *_crowds(mixes, clips, noise),
        *recordings_checks(mixes, noise, params.mixes.unseen),
        *_measured(mixes, checks, params.gates.snr_tolerance_db),
        *_conditions(mixes, split_of, params.mixes),
        *_decision_conditions(mixes, split_of, params.mixes),
        *chain.from_iterable(_grid(split, rows, mixes, questions) for split, rows in grids.items()),
    ]


def _grid(
    split: str, rows: Sequence[GridRow], mixes: Sequence[Mix], questions: Sequence[Question]
) -> list[Expect]:
    """Return expectations about the grid of a split; none if neither corpus nor grid has a decision
    split.
    """
    wanted = wanted_cells(questions, mixes, split)
    if split != "test" and not wanted and not rows:
        return []
    return grid_checks(
        split,
        wanted,
        [(row.question_id, row.mix_id) for row in rows],
        f"the grid holds every {split} question exactly once in every mix of its clip",
        f"the grid holds nothing but {split} questions in mixes of their clips",
    )


def _recipes(
    mixes: Sequence[Mix],
    checks: Sequence[MixCheck],
    split_of: Mapping[str, str],
    settings: MixesParams,
    noise: NoiseSettings,
) -> list[Expect]:
    measured = Counter(check.mix_id for check in checks)
    allowed = {CLEAN, *settings.seen}
    table = Table.of(
        "mixes",
        "mix_id",
        {
            "mix_id": [mix.mix_id for mix in mixes],
            "measurements": [measured[mix.mix_id] for mix in mixes],
            "split_of_clip": [split_of.get(mix.clip_id) == mix.split for mix in mixes],
            "kind_allowed": [mix.split in GRIDS or mix.noise_kind in allowed for mix in mixes],
            "contains_itself": [int(mix.clip_id in _voices(mix, noise)) for mix in mixes],
        },
    )
    return [
        table.expect("mix_id", Unique(), "no mix id is given twice"),
        table.expect("measurements", Between(1), "every mix was measured"),
        table.expect("split_of_clip", HOLDS, "every mix is in the split of its clip"),
        table.expect(
            "kind_allowed", HOLDS, "training and validation have seen kinds of noise only"
        ),
        table.expect("contains_itself", Between(0, 0), "no clip is part of its own noise"),
    ]


def _crowds(mixes: Sequence[Mix], clips: Sequence[Clip], noise: NoiseSettings) -> list[Expect]:
    """Return the expectation that babble is made of training clips only; if the corpus is a test
    alone, of test clips of other groups.
    """
    source, group_of = babble_split(clips), {clip.clip_id: clip.group for clip in clips}
    allowed = {clip.clip_id for clip in clips if clip.split == source}
    voices = [_voices(mix, noise) for mix in mixes]
    table = Table.of(
        "crowds",
        "mix_id",
        {
            "mix_id": [mix.mix_id for mix in mixes],
            "foreign_voices": [sum(voice not in allowed for voice in of_mix) for of_mix in voices],
            "own_group": [
                sum(group_of.get(voice) == group_of.get(mix.clip_id) for voice in of_mix)
                for mix, of_mix in zip(mixes, voices, strict=True)
            ],
        },
    )
    description = f"a crowd is made of {'training' if source == 'train' else 'test'} clips only"
    checks = [table.expect("foreign_voices", Between(0, 0), description)]
    if source == "test":
        checks.append(
            table.expect("own_group", Between(0, 0), "no clip has its own group in its crowd")
        )
    return checks


def _voices(mix: Mix, noise: NoiseSettings) -> tuple[str, ...]:
    """Return the ids of the clips that a babble is made of; none for other noise and for a recorded
    crowd, whose sources are recordings.
    """
    return (
        mix.noise_sources if mix.noise_kind == CROWD and CROWD not in noise.recorded_kinds else ()
    )


def _measured(
    mixes: Sequence[Mix], checks: Sequence[MixCheck], tolerance_db: float
) -> list[Expect]:
    asked = {mix.mix_id: mix.snr_db for mix in mixes}
    rows = [check for check in checks if check.mix_id in asked]
    table = Table.of(
        "checks",
        "mix_id",
        {
            "mix_id": [row.mix_id for row in rows],
            "snr_error_db": [_snr_error_db(asked[row.mix_id], row.realised_snr_db) for row in rows],
            "peak": [row.peak for row in rows],
        },
    )
    return [
        table.expect(
            "snr_error_db",
            Between(0.0, tolerance_db),
            f"every mix has the asked SNR within {tolerance_db:g} dB",
        ),
        table.expect("peak", Between(0.0, 1.0), "no mix passes full scale"),
    ]


def _snr_error_db(asked: float | None, realised: float | None) -> float:
    """Return the absolute error of the SNR in dB: 0 for a clean mix, and NaN, which fails, for a
    noisy one without a measured SNR.
    """
    return 0.0 if asked is None and realised is None else abs(number(realised) - number(asked))


def _conditions(
    mixes: Sequence[Mix], split_of: Mapping[str, str], settings: MixesParams
) -> list[Expect]:
    wanted = {CLEAN} | {
        condition_name(kind, snr) for kind in settings.kinds for snr in settings.snrs_db
    }
    conditions: dict[str, set[str]] = defaultdict(set)
    for mix in mixes:
        conditions[mix.clip_id].add(condition_name(mix.noise_kind, mix.snr_db))
    clips = sorted(clip_id for clip_id, split in split_of.items() if split == "test")
    table = Table.of(
        "test_clips",
        "clip_id",
        {
            "clip_id": clips,
            "missing_conditions": [len(wanted - conditions[clip_id]) for clip_id in clips],
            "other_conditions": [len(conditions[clip_id] - wanted) for clip_id in clips],
        },
    )
    return [
        table.expect(
            "missing_conditions",
            Between(0, 0),
            "every test clip is clean and in every kind of noise at every SNR",
        ),
        table.expect(
            "other_conditions",
            Between(0, 0),
            "no test clip is in a condition that was not asked for",
        ),
    ]


def _decision_conditions(
    mixes: Sequence[Mix], split_of: Mapping[str, str], settings: MixesParams
) -> list[Expect]:
    """Return the expectation that a decision clip is clean once and noisy once at every SNR of the
    decision; none if the source has no decision split.
    """
    clips = sorted(clip_id for clip_id, split in split_of.items() if split == "decision")
    if not clips:
        return []
    wanted = Counter([None, *settings.decision_snrs_db])
    levels: dict[str, Counter[float | None]] = defaultdict(Counter)
    for mix in mixes:
        levels[mix.clip_id][mix.snr_db] += 1
    table = Table.of(
        "decision_clips",
        "clip_id",
        {"clip_id": clips, "each_level_once": [levels[clip_id] == wanted for clip_id in clips]},
    )
    description = "every decision clip is clean once and in noise once at every SNR of the decision"
    return [table.expect("each_level_once", HOLDS, description)]


def mixes_notes(folder: Path, corpus_folder: Path, unseen: Collection[str]) -> list[str]:
    """Return warnings about the noise that are no faults."""
    noise = read_noise(folder)
    notes = recordings_notes(noise, unseen)
    if CROWD in noise.kinds and CROWD not in noise.recorded_kinds:
        clips = read_rows(corpus_folder / "clips.parquet", Clip)
        split = babble_split(clips)
        voices = [clip for clip in clips if clip.split == split]
        if unknown := sum(not clip.transcript for clip in voices):
            made_of = f"{'training' if split == 'train' else 'test'} clips"
            notes.append(
                f"warning: {CROWD} is babble of {made_of}, and {unknown} of {len(voices)} have no"
                " transcript, so they may be no speech: give recordings of a crowd (mixes.noise,"
                f" mixes.recordings), or leave {CROWD} out of mixes.kinds"
            )
    return notes
