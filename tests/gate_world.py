"""One sound artifact of each sort, and ways to break them."""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml
from numpy.typing import NDArray

from echodistill.audio.mixing import Mix
from echodistill.champion_answers import ChampionStatus, write_status
from echodistill.champion_folder import ChampionFacts, files_hash, write_facts
from echodistill.core.records import (
    GRIDS,
    Answer,
    Clip,
    GridRow,
    MixCheck,
    Quarantined,
    Question,
    Reference,
    read_rows,
    write_rows,
)
from echodistill.data.store import Corpus
from echodistill.evaluation.base_and_student import compare_systems
from echodistill.evaluation.scores import score_answers
from echodistill.evaluation.skill import Skill
from echodistill.evaluation.units import unit_of
from echodistill.params.whole import Params, validate_params
from echodistill.stages.mixes import mixes as make_mixes
from echodistill.stages.promote import promote
from tests.answers import answer
from tests.conftest import write_corpus

CLIPS, QUESTIONS, QUARANTINE = (
    "corpus/clips.parquet",
    "corpus/questions.parquet",
    "corpus/quarantine.parquet",
)
MIXES, CHECKS, GRID = "mixes/mixes.parquet", "mixes/checks.parquet", "mixes/grid.parquet"
DECISION_GRID = "mixes/decision_grid.parquet"
DECISION = "decision"
BASE_DECISION, STUDENT_DECISION, CHAMPION_DECISION = (
    "decision/base.parquet",
    "decision/student.parquet",
    "decision/champion",
)
CHAMPION = "champion"
REFERENCES, ANSWERS = "references/references.parquet", "answers.parquet"
BASE, RUN, METRICS, PROMOTION = (
    "base/base.json",
    "student/run.json",
    "metrics.json",
    "promotion.json",
)


def _params() -> Params:
    raw = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text(encoding="utf-8"))
    raw["corpus"] |= {"min_duration_s": 0.2, "max_duration_s": 1.2, "max_quarantined_share": 0.1}
    raw["mixes"] |= {
        "kinds": ["gauss", "crowd", "wind"],
        "unseen": ["wind"],
        "noise": "procedural",
        "train_draws": 1,
    }
    raw["mixes"] |= {
        "snrs_db": [-10, 5],
        "train_snrs_db": [-10, 5],
        "decision_snrs_db": [-10, 0],
        "train_clean_share": 0.0,
    }
    raw["evaluate"] |= {"headline_max_snr_db": 0, "bootstrap_draws": 100}
    raw["promote"] |= {"clean_acc_margin": 0.02}
    raw["gates"] |= {
        "snr_tolerance_db": 0.01,
        "max_position_share": 0.6,
        "min_parse_rate": 0.9,
        "above_chance": 0.2,
        "max_truncated_share": 0.02,
    }
    return validate_params(raw, "test")


PARAMS = _params()


def make_world(world: Path) -> None:
    """Made by the stages' own code, where that needs no model: what a stage writes is what its gate
    reads.
    """
    corpus = write_corpus(
        world / "corpus", {"train": 24, "validation": 2, "decision": 4, "test": 3}
    )
    write_rows(world / QUARANTINE, Quarantined, [Quarantined("x.wav", "empty")])
    make_mixes(PARAMS, world / "mixes", world / "corpus")
    losses = [3.0 - 0.1 * step for step in range(20)]
    skill = Skill(
        0.9, 40, "validation", 0.25, unparsed=0.0, truncated=0.0, train_acc=0.95, train_n=80
    )
    write_json(
        world / BASE,
        {"model": "nano", "parameters": 9, "losses": losses, "sampled": None, **asdict(skill)},
    )
    trained = corpus.questions_of("train")
    references = [
        Reference(row.question_id, "k", row.answer, (1,), False, row.answer, True)
        for row in trained
    ]
    (world / "references").mkdir()
    write_rows(world / REFERENCES, Reference, references)
    write_json(world / RUN, {"steps": 3})
    write_log(
        world,
        [{"step": step, "loss": 1.0 / step, "reward_std": 0.1 * (step - 1)} for step in (1, 2, 3)],
    )
    answers = _answers(world, corpus, GRID, right_in_noise=False)
    write_rows(world / ANSWERS, Answer, answers)
    units = unit_of(corpus.clips.values())
    base = score_answers(answers, answers, corpus.questions, units)
    student = score_answers(
        _answers(world, corpus, GRID, right_in_noise=True), answers, corpus.questions, units
    )
    write_json(
        world / METRICS,
        compare_systems("echodistill", base, student, PARAMS.evaluate, PARAMS.mixes.unseen, 1),
    )
    write_champion(world / CHAMPION)
    poor, good = (
        _answers(world, corpus, DECISION_GRID, right_in_noise=right) for right in (False, True)
    )
    (world / CHAMPION_DECISION).mkdir(parents=True)
    write_rows(world / BASE_DECISION, Answer, poor)
    write_rows(world / STUDENT_DECISION, Answer, good)
    write_rows(world / CHAMPION_DECISION / "answers.parquet", Answer, poor)
    write_status(world / CHAMPION_DECISION, ChampionStatus("3"))
    decide(world)


def write_champion(folder: Path) -> None:
    """A champion of files that no model reads."""
    write_json(folder / "student/run.json", {"weights": "full"})
    (folder / "student/model.safetensors").write_bytes(b"weights")
    write_facts(folder, ChampionFacts("3", "mark", "digest", files_hash(folder)))


def other_champion_weights(world: Path) -> None:
    """The champion's weights were changed after they were fetched."""
    (world / CHAMPION / "student/model.safetensors").write_bytes(b"others")


def unanswered_champion(world: Path) -> None:
    """The champion could not answer."""
    write_rows(world / CHAMPION_DECISION / "answers.parquet", Answer, [])
    write_status(world / CHAMPION_DECISION, ChampionStatus("3", "its window is too short"))


def decide(world: Path) -> None:
    """Write the decision on the answers that are there."""
    answers = world / BASE_DECISION, world / STUDENT_DECISION, world / CHAMPION_DECISION
    promote(PARAMS, world / PROMOTION, world / "corpus", *answers, world / BASE)


def _answers(world: Path, corpus: Corpus, grid: str, right_in_noise: bool) -> list[Answer]:
    mixes = {mix.mix_id: mix for mix in read_rows(world / MIXES, Mix)}
    answers = []
    for cell in read_rows(world / grid, GridRow):
        mix, question = mixes[cell.mix_id], corpus.questions[cell.question_id]
        right = right_in_noise or mix.snr_db is None
        index = question.choices.index(question.answer)
        response = question.choices[index if right else index - 1]
        answers.append(
            answer(
                cell.mix_id,
                cell.question_id,
                mix.noise_kind,
                mix.snr_db,
                response,
                question.choices,
            )
        )
    return answers


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_log(world: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (world / "student" / "metrics.jsonl").write_text(text, encoding="utf-8")


Break = Callable[[Path], None]


def rows(file: str, row_type: type, edit: Callable[[list[Any]], list[Any]]) -> Break:
    """Edit the rows of a parquet file."""
    return lambda world: write_rows(world / file, row_type, edit(read_rows(world / file, row_type)))


def row(file: str, row_type: type, key: str, name: str, **changes: object) -> Break:
    """Change fields of the row whose ``key`` is ``name``."""

    def edit(found: list[Any]) -> list[Any]:
        assert [getattr(one, key) for one in found].count(name) == 1
        return [replace(one, **changes) if getattr(one, key) == name else one for one in found]

    return rows(file, row_type, edit)


def clip(name: str, **changes: object) -> Break:
    return row(CLIPS, Clip, "clip_id", name, **changes)


def question(name: str, **changes: object) -> Break:
    return row(QUESTIONS, Question, "question_id", name, **changes)


def check(name: str, **changes: object) -> Break:
    return row(CHECKS, MixCheck, "mix_id", name, **changes)


def reference(name: str, **changes: object) -> Break:
    return row(REFERENCES, Reference, "question_id", name, **changes)


def all_of(*breaks: Break) -> Break:
    def break_it(world: Path) -> None:
        for one in breaks:
            one(world)

    return break_it


def json_file(file: str, edit: Callable[[Any], object]) -> Break:
    """Edit a JSON file's content in place."""

    def break_it(world: Path) -> None:
        content = json.loads((world / file).read_text(encoding="utf-8"))
        edit(content)
        write_json(world / file, content)

    return break_it


def log(edit: Callable[[list[dict[str, Any]]], object]) -> Break:
    """Edit the training log's rows in place."""

    def break_it(world: Path) -> None:
        found = [
            json.loads(line)
            for line in (world / "student" / "metrics.jsonl")
            .read_text(encoding="utf-8")
            .splitlines()
        ]
        edit(found)
        write_log(world, found)

    return break_it


def stored(name: str, content: bytes, duration_s: float = 0.4) -> Break:
    """Keep other bytes for a clip, and a row that is true to them."""

    def break_it(world: Path) -> None:
        (world / "corpus" / "audio-other.tar").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        clip(
            name,
            shard="audio-other.tar",
            offset=0,
            size=len(content),
            sha256=digest,
            duration_s=duration_s,
        )(world)

    return break_it


def flac(
    duration_s: float = 0.4, rate: int = 16_000, channels: int = 1, gain: float = 0.1
) -> bytes:
    """FLAC bytes of white noise."""
    shape = (int(duration_s * rate), channels)
    wave: NDArray[np.float64] = gain * np.random.default_rng(0).uniform(-1, 1, shape)
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format="FLAC", subtype="PCM_24")
    return buffer.getvalue()


def flip_stored_bit(world: Path) -> None:
    """In the audio of clip ``train-3``."""
    damaged = Corpus(world / "corpus").clips["train-3"]
    with (world / "corpus" / damaged.shard).open("r+b") as shard:
        shard.seek(damaged.offset + damaged.size // 2)
        byte = shard.read(1)[0]
        shard.seek(-1, io.SEEK_CUR)
        shard.write(bytes([byte ^ 1]))


def share_audio(world: Path) -> None:
    """Give ``test-0`` the audio of ``train-0``."""
    one = Corpus(world / "corpus").clips["train-0"]
    clip(
        "test-0",
        shard=one.shard,
        offset=one.offset,
        size=one.size,
        sha256=one.sha256,
        duration_s=one.duration_s,
    )(world)


def share_source(world: Path) -> None:
    """Say that ``test-0`` was made from the recording of ``train-0``, though it is stored
    otherwise.
    """
    clip("test-0", source_sha256=Corpus(world / "corpus").clips["train-0"].source_sha256)(world)


def more_mix(of: str, **changes: Any) -> Break:
    """One more mix of a clip, called ``odd``, measured, and in the grid where it is a test mix."""

    def break_it(world: Path) -> None:
        found = read_rows(world / MIXES, Mix)
        mix = replace(
            next(one for one in found if one.clip_id == of and one.snr_db is not None),
            mix_id="odd",
            **changes,
        )
        write_rows(world / MIXES, Mix, [*found, mix])
        rows(CHECKS, MixCheck, lambda checks: [*checks, MixCheck("odd", mix.snr_db, 1.0, 0.5)])(
            world
        )
        if mix.split in GRIDS:
            rows(
                f"mixes/{GRIDS[mix.split]}",
                GridRow,
                lambda cells: [*cells, GridRow("odd", f"{of}-q")],
            )(world)

    return break_it


def without_mix(name: str) -> Break:
    def drop(found: list[Any]) -> list[Any]:
        kept = [one for one in found if one.mix_id != name]
        assert len(kept) == len(found) - 1
        return kept

    grid = DECISION_GRID if name.startswith("decision") else GRID
    return all_of(rows(MIXES, Mix, drop), rows(CHECKS, MixCheck, drop), rows(grid, GridRow, drop))


def front_load(found: list[Any]) -> list[Any]:
    """Bring the right answers of 18 of the 24 training questions to the front: 75 %, beside what
    stood there by turn.
    """
    order = []
    for number, one in enumerate(found):
        position = 0 if number < 18 else 1 + number % 2
        others = [choice for choice in one.choices if choice != one.answer]
        choices = (*others[:position], one.answer, *others[position:])
        order.append(
            replace(one, choices=choices, answer_index=position) if one.split == "train" else one
        )
    return order
