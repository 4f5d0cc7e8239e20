"""For every expectation of every gate, ways to break an artifact that make exactly that expectation
fail.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from echodistill.audio.mixing import Mix
from echodistill.core.records import (
    Answer,
    Clip,
    GridRow,
    MixCheck,
    Quarantined,
    Question,
    Reference,
)
from echodistill.evaluation.criteria import CRITERIA
from echodistill.gates.champion import EXPLAINED, WHOLE
from tests import gate_world as w
from tests.gate_world import Break


@dataclass(frozen=True)
class Case:
    """A way to break an artifact, and the one sentence of its gate that is then not so."""

    artifact: str
    description: str
    ids: str
    """The offending ids, with ``; `` between."""
    break_it: Break


CUT = (
    "at most 2 % of the responses are cut at the length limit (else raise"
    " generation.max_new_tokens)"
)


def cases(artifact: str, *rows: tuple[str, str, Break]) -> list[Case]:
    return [Case(artifact, *row) for row in rows]


def again(index: int) -> Callable[[list[Any]], list[Any]]:
    return lambda found: [*found, found[index]]


def but(index: int) -> Callable[[list[Any]], list[Any]]:
    return lambda found: found[:index] + found[index + 1 :]


def one_more(index: int, **changes: object) -> Callable[[list[Any]], list[Any]]:
    return lambda found: [*found, replace(found[index], **changes)]


def wrong_from(count: int) -> Callable[[list[Any]], list[Any]]:
    def edit(found: list[Any]) -> list[Any]:
        return [
            (one if n < count else replace(one, parsed="another", correct=False))
            for n, one in enumerate(found)
        ]

    return edit


def unparsed_until(count: int) -> Callable[[list[Any]], list[Any]]:
    return lambda found: [
        replace(one, parsed=None, correct=False) if n < count else one
        for n, one in enumerate(found)
    ]


def change(**changes: object) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.update(changes)


def at(*keys: str | int, **changes: object) -> Callable[[Any], None]:
    """Change the value below ``keys``."""

    def edit(content: Any) -> None:
        for key in keys:
            content = content[key]
        content.update(changes)

    return edit


def each_system(*keys: str, **changes: object) -> Callable[[Any], None]:
    def edit(content: Any) -> None:
        for system in ("base", "student"):
            at(system, *keys, **changes)(content)

    return edit


def unmet(content: Any) -> None:
    """A criterion that was met is written down as not, and the decision follows."""
    content["criteria"][0]["met"] = False
    content["promote"] = False


def of_promotion(edit: Callable[[Any], object]) -> Break:
    return w.json_file(w.PROMOTION, edit)


BY_GUESSING = "guessing gives so many right answers in at most 5 % of cases"
NO_SHARED_AUDIO = "no audio in two splits: give its clips one group, or leave one of them out"
LONG_TRANSCRIPT = (
    "no transcript is longer than 40 characters for each second of its clip and 20 more"
)
CORPUS = cases(
    "corpus",
    ("no clip id is given twice", "train-3", w.rows(w.CLIPS, Clip, again(3))),
    (
        "every clip is in train, validation, decision or test",
        "validation-0",
        w.all_of(
            w.clip("validation-0", split="dev", group="dev"),
            w.question("validation-0-q", split="dev"),
        ),
    ),
    ("every clip decodes", "train-3", w.flip_stored_bit),
    ("every clip decodes", "train-3", w.stored("train-3", b"no audio")),
    ("every clip decodes", "train-3", w.clip("train-3", shard="audio-gone.tar")),
    ("every clip lasts 0.2 to 1.2 s", "train-3", w.stored("train-3", w.flac(1.5), 1.5)),
    ("every clip lasts 0.2 to 1.2 s", "train-3", w.stored("train-3", w.flac(0.1), 0.4)),
    ("no clip is silent (below -70 dBFS)", "train-3", w.stored("train-3", w.flac(gain=0.0))),
    ("no clip is silent (below -70 dBFS)", "train-3", w.stored("train-3", w.flac(gain=3e-4))),
    ("every clip is stored as 16 kHz mono", "train-3", w.stored("train-3", w.flac(rate=8_000))),
    ("every clip is stored as 16 kHz mono", "train-3", w.stored("train-3", w.flac(channels=2))),
    (NO_SHARED_AUDIO, "test-0 = train-0", w.share_audio),
    (NO_SHARED_AUDIO, "test-0 = train-0", w.share_source),
    ("no group in two splits", "train-speaker-0", w.clip("test-0", group="train-speaker-0")),
    ("no question id is given twice", "train-3-q", w.rows(w.QUESTIONS, Question, again(3))),
    (
        "every question's clip is in the corpus",
        "odd",
        w.rows(w.QUESTIONS, Question, one_more(3, question_id="odd", clip_id="gone")),
    ),
    (
        "every question is in the split of its clip",
        "odd",
        w.rows(w.QUESTIONS, Question, one_more(3, question_id="odd", split="test")),
    ),
    (
        "every answer is the choice its index points at, or an open answer",
        "train-3-q",
        w.question("train-3-q", answer="medium"),
    ),
    (
        "every answer is the choice its index points at, or an open answer",
        "test-0-q",
        w.question("test-0-q", answer_index=3),
    ),
    (
        "every answer is the choice its index points at, or an open answer",
        "test-0-q",
        w.question("test-0-q", answer_index=-3),
    ),
    (
        "no question has the same choice twice",
        "train-3-q",
        w.question("train-3-q", choices=("low", "Low.", "high"), answer="low", answer_index=0),
    ),
    ("no transcript is empty", "train-3", w.clip("train-3", transcript=" \n")),
    (LONG_TRANSCRIPT, "train-3", w.clip("train-3", transcript="low " * 10 + "low")),
    (LONG_TRANSCRIPT, "train-3", w.clip("train-3", transcript="a siren of a passing car " * 3)),
    (
        "no transcript is the list of its choices",
        "train-3",
        w.clip("train-3", transcript="['middle', 'high', 'low']"),
    ),
    (
        "the clips have different transcripts",
        "all clips",
        w.rows(w.CLIPS, Clip, lambda found: [replace(one, transcript="low") for one in found]),
    ),
    (
        "no position of the choices holds more than 60 % of the right answers",
        "all splits, position 0; train, position 0",
        w.rows(w.QUESTIONS, Question, w.front_load),
    ),
    (
        "train and test each have a clip with a question",
        "test",
        w.rows(w.QUESTIONS, Question, lambda found: [one for one in found if one.split != "test"]),
    ),
    (
        "at most 10 % of a source's rows are quarantined",
        "builtin",
        w.rows(w.QUARANTINE, Quarantined, lambda found: found * 4),
    ),
)
LOUD = "test-0/gauss@-10"
DECISION_LEVELS = "every decision clip is clean once and in noise once at every SNR of the decision"
MIXES = cases(
    "mixes",
    (
        "no mix id is given twice",
        "odd",
        w.all_of(w.more_mix("train-0"), w.rows(w.MIXES, Mix, again(-1))),
    ),
    (
        "every mix was measured",
        LOUD,
        w.rows(w.CHECKS, MixCheck, lambda found: [one for one in found if one.mix_id != LOUD]),
    ),
    ("every mix is in the split of its clip", "odd", w.more_mix("train-0", split="validation")),
    ("every mix is in the split of its clip", "odd", w.more_mix("train-0", clip_id="gone")),
    (
        "training and validation have seen kinds of noise only",
        "odd",
        w.more_mix("train-0", noise_kind="wind"),
    ),
    (
        "training and validation have seen kinds of noise only",
        "odd",
        w.more_mix("validation-0", noise_kind="wind"),
    ),
    (
        "a crowd is made of training clips only",
        "odd",
        w.more_mix("train-0", noise_kind="crowd", noise_sources=("train-1", "test-0")),
    ),
    (
        "no clip is part of its own noise",
        "odd",
        w.more_mix("train-0", noise_kind="crowd", noise_sources=("train-1", "train-0")),
    ),
    ("every mix has the asked SNR within 0.01 dB", LOUD, w.check(LOUD, realised_snr_db=-9.98)),
    ("every mix has the asked SNR within 0.01 dB", LOUD, w.check(LOUD, realised_snr_db=None)),
    (
        "every mix has the asked SNR within 0.01 dB",
        "test-0/clean",
        w.check("test-0/clean", realised_snr_db=30.0),
    ),
    ("no mix passes full scale", LOUD, w.check(LOUD, peak=1.01)),
    ("no mix passes full scale", LOUD, w.check(LOUD, peak=float("nan"))),
    (
        "every test clip is clean and in every kind of noise at every SNR",
        "test-0",
        w.without_mix("test-0/wind@5"),
    ),
    (
        "every test clip is clean and in every kind of noise at every SNR",
        "test-0",
        w.without_mix("test-0/clean"),
    ),
    (
        "no test clip is in a condition that was not asked for",
        "test-0",
        w.more_mix("test-0", snr_db=7.0),
    ),
    (DECISION_LEVELS, "decision-0", w.without_mix("decision-0/clean")),
    (DECISION_LEVELS, "decision-0", w.more_mix("decision-0", noise_kind="wind", snr_db=5.0)),
    (
        "the grid holds every decision question exactly once in every mix of its clip",
        "decision-0-q in decision-0/clean",
        w.rows(w.DECISION_GRID, GridRow, but(0)),
    ),
    (
        "the grid holds nothing but decision questions in mixes of their clips",
        "test-0-q in test-0/clean",
        w.rows(
            w.DECISION_GRID, GridRow, one_more(0, question_id="test-0-q", mix_id="test-0/clean")
        ),
    ),
    (
        "the grid holds every test question exactly once in every mix of its clip",
        "test-0-q in test-0/clean",
        w.rows(w.GRID, GridRow, but(0)),
    ),
    (
        "the grid holds every test question exactly once in every mix of its clip",
        "test-0-q in test-0/clean",
        w.rows(w.GRID, GridRow, again(0)),
    ),
    (
        "the grid holds nothing but test questions in mixes of their clips",
        "test-1-q in test-0/clean",
        w.rows(w.GRID, GridRow, one_more(0, question_id="test-1-q")),
    ),
)
BASE = cases(
    "base",
    ("the base has parameters", "nano", w.json_file(w.BASE, change(parameters=0))),
    (
        "every pre-training loss is a finite number",
        "4",
        w.json_file(w.BASE, lambda facts: facts["losses"].__setitem__(3, float("inf"))),
    ),
    (
        "the last tenth of the pre-training losses lies below the first tenth",
        "nano",
        w.json_file(w.BASE, change(losses=[3.0] * 20)),
    ),
    (
        "the last tenth of the pre-training losses lies below the first tenth",
        "nano",
        w.json_file(w.BASE, change(losses=[])),
    ),
    (
        "clean accuracy on unseen groups lies at least 0.2 above chance",
        "nano",
        w.json_file(w.BASE, change(clean_acc=0.44)),
    ),
    (BY_GUESSING, "nano", w.json_file(w.BASE, change(clean_n=5, clean_acc=0.6))),
    (BY_GUESSING, "nano", w.json_file(w.BASE, change(clean_n=2, clean_acc=1.0))),
)
REFERENCES = cases(
    "references",
    (
        "every training question has exactly one reference",
        "train-3-q",
        w.rows(w.REFERENCES, Reference, but(3)),
    ),
    (
        "every training question has exactly one reference",
        "train-3-q",
        w.rows(w.REFERENCES, Reference, again(3)),
    ),
    (
        "every reference belongs to a training question",
        "test-0-q",
        w.rows(w.REFERENCES, Reference, one_more(3, question_id="test-0-q")),
    ),
    ("no response is empty", "train-3-q", w.reference("train-3-q", response=" ")),
    (
        "a reference counts as correct where it names the right choice",
        "train-3-q",
        w.reference("train-3-q", correct=False),
    ),
    (CUT, "references: 1 of 24 cut at 1 token", w.reference("train-3-q", truncated=True)),
    (
        "at least 90 % of the responses name a choice",
        "teacher",
        w.rows(w.REFERENCES, Reference, unparsed_until(3)),
    ),
    (
        "clean training accuracy lies at least 0.2 above chance",
        "teacher",
        w.rows(w.REFERENCES, Reference, wrong_from(12)),
    ),
)
STUDENT = cases(
    "student",
    (
        "the logged steps count up from 1 without a gap",
        "2",
        w.log(lambda rows: rows[1].update(step=1)),
    ),
    (
        "every training loss is a finite number",
        "2",
        w.log(lambda rows: rows[1].update(loss=float("nan"))),
    ),
    ("every training loss is a finite number", "2", w.log(lambda rows: rows[1].pop("loss"))),
    ("every step of the run is logged", "run.json", w.log(lambda rows: rows.pop())),
    ("every step of the run is logged", "run.json", w.json_file(w.RUN, change(steps=None))),
    (
        "the rewards are not all equal over the whole run",
        "reward_std",
        w.log(lambda rows: [row.update(reward_std=float("nan")) for row in rows]),
    ),
    (
        "the rewards are not all equal over the whole run",
        "reward_std",
        w.log(lambda rows: [row.update(reward_std=0.0) for row in rows]),
    ),
)
ANSWERS = cases(
    "answers_base",
    (
        "every test question has exactly one answer in every mix of its clip",
        "test-0-q in test-0/clean",
        w.rows(w.ANSWERS, Answer, but(0)),
    ),
    (
        "every test question has exactly one answer in every mix of its clip",
        "test-0-q in test-0/clean",
        w.rows(w.ANSWERS, Answer, again(0)),
    ),
    (
        "every answer belongs to a test question and a mix of its clip",
        "test-1-q in test-0/clean",
        w.rows(w.ANSWERS, Answer, one_more(0, question_id="test-1-q")),
    ),
    (
        "every answer names the noise and SNR of its mix",
        "test-0-q in test-0/clean",
        w.rows(w.ANSWERS, Answer, lambda found: [replace(found[0], snr_db=5.0), *found[1:]]),
    ),
    (
        CUT,
        "answers: 2 of 21 cut at 24 tokens",
        w.rows(
            w.ANSWERS,
            Answer,
            lambda found: [
                *(replace(one, truncated=True, response_tokens=24) for one in found[:2]),
                *found[2:],
            ],
        ),
    ),
)
EVERY_RATE = "every rate is there and lies within 0 and 1"
EVERY_DIFFERENCE = "every difference is there and lies within its interval"
COMPARISON = cases(
    "metrics",
    (
        "every SNR and every kind of noise is there for both systems",
        "by_snr 5",
        w.json_file(w.METRICS, lambda m: m["student"]["by_snr"].pop("5")),
    ),
    (
        "every SNR and every kind of noise is there for both systems",
        "by_noise wind",
        w.json_file(
            w.METRICS,
            lambda m: [m[system]["by_noise"].pop("wind") for system in ("base", "student")],
        ),
    ),
    (
        "no cell is without answers",
        "by_noise wind",
        w.json_file(w.METRICS, each_system("by_noise", "wind", n=0)),
    ),
    (
        "both systems answered equally many questions in every cell",
        "by_snr -10",
        w.json_file(w.METRICS, at("student", "by_snr", "-10", n=7)),
    ),
    (
        EVERY_RATE,
        "base by_snr -10 gsr",
        w.json_file(w.METRICS, at("base", "by_snr", "-10", gsr=1.01)),
    ),
    (
        EVERY_RATE,
        "student overall clean_acc",
        w.json_file(w.METRICS, at("student", clean_acc=None)),
    ),
    (
        EVERY_RATE,
        "base by_snr -10 unparsed",
        w.json_file(w.METRICS, at("base", "by_snr", "-10", unparsed=-0.1)),
    ),
    (
        EVERY_RATE,
        "student by_noise wind acc_forced",
        w.json_file(w.METRICS, at("student", "by_noise", "wind", acc_forced=None)),
    ),
    (
        EVERY_RATE,
        "student overall clean_acc_forced_norm",
        w.json_file(w.METRICS, at("student", clean_acc_forced_norm=1.5)),
    ),
    (
        EVERY_DIFFERENCE,
        "noisy",
        w.json_file(w.METRICS, at("difference", "noisy", low=0.9, value=0.8, high=1.0)),
    ),
    (EVERY_DIFFERENCE, "gsr", w.json_file(w.METRICS, at("difference", "gsr", high=None))),
    (
        EVERY_DIFFERENCE,
        "acc_forced",
        w.json_file(w.METRICS, at("difference", "acc_forced", low=0.9, value=0.8, high=1.0)),
    ),
    (
        EVERY_DIFFERENCE,
        "by_noise wind",
        w.json_file(w.METRICS, lambda m: m["difference_by_noise"].pop("wind")),
    ),
)


def cut_first(found: list[Answer]) -> list[Answer]:
    """The first answer was cut at the length limit."""
    return [replace(found[0], truncated=True, response_tokens=24), *found[1:]]


DECISION_ANSWERS = cases(
    "answers_student_decision",
    (
        "every decision question has exactly one answer in every mix of its clip",
        "decision-0-q in decision-0/clean",
        w.rows(w.STUDENT_DECISION, Answer, but(0)),
    ),
    (
        "every answer belongs to a decision question and a mix of its clip",
        "test-0-q in test-0/clean",
        w.rows(
            w.STUDENT_DECISION, Answer, one_more(0, question_id="test-0-q", mix_id="test-0/clean")
        ),
    ),
    (
        "every answer names the noise and SNR of its mix",
        "decision-0-q in decision-0/clean",
        w.rows(
            w.STUDENT_DECISION, Answer, lambda found: [replace(found[0], snr_db=5.0), *found[1:]]
        ),
    ),
    (CUT, "answers: 1 of 12 cut at 24 tokens", w.rows(w.STUDENT_DECISION, Answer, cut_first)),
)
CHAMPION_ANSWERS = cases(
    "answers_champion_decision",
    *(
        (case.description, case.ids, w.rows(f"{w.CHAMPION_DECISION}/answers.parquet", Answer, edit))
        for case, edit in zip(
            DECISION_ANSWERS,
            (
                but(0),
                one_more(0, question_id="test-0-q", mix_id="test-0/clean"),
                lambda found: [replace(found[0], snr_db=5.0), *found[1:]],
                cut_first,
            ),
            strict=True,
        )
    ),
)
CHAMPION = cases(
    "champion",
    (EXPLAINED, "3", w.json_file("champion/champion.json", change(reason="gone"))),
    (WHOLE, "3", w.other_champion_weights),
)
PROMOTION = cases(
    "promotion",
    (
        "every criterion's value lies within its interval",
        CRITERIA[0].name,
        of_promotion(at("criteria", 0, value=-0.9)),
    ),
    (
        "every criterion's value lies within its interval",
        CRITERIA[0].name,
        of_promotion(at("criteria", 0, high=None)),
    ),
    (
        "a criterion counts as met where its interval's low end reaches its bound",
        CRITERIA[0].name,
        of_promotion(unmet),
    ),
    (
        "a criterion counts as met where its interval's low end reaches its bound",
        CRITERIA[0].name,
        of_promotion(at("criteria", 0, low=0.0)),
    ),
    (
        "the decision weighs every criterion that applies once",
        "promotion.json",
        of_promotion(lambda p: p["criteria"].pop()),
    ),
    (
        "the decision names the champion whose answers it was made from",
        "promotion.json",
        of_promotion(at("champion", version="2")),
    ),
    (
        "a decision without answers of the student or the champion names the obstacle",
        "promotion.json",
        w.all_of(
            w.unanswered_champion,
            w.decide,
            of_promotion(change(obstacles=[])),
            of_promotion(change(promote=True)),
        ),
    ),
    (
        "the student is promoted where there is no obstacle and all criteria are met",
        "promotion.json",
        of_promotion(change(promote=False)),
    ),
    (
        "the student is promoted where there is no obstacle and all criteria are met",
        "promotion.json",
        of_promotion(change(obstacles=["something"])),
    ),
    (
        "the decision was made from these answers",
        "promotion.json",
        of_promotion(at("inputs_sha256", **{"base.parquet": "0"})),
    ),
)
OF_DECISION = [*DECISION_ANSWERS, *CHAMPION_ANSWERS, *CHAMPION, *PROMOTION]
CASES = [*CORPUS, *MIXES, *BASE, *REFERENCES, *STUDENT, *ANSWERS, *COMPARISON, *OF_DECISION]
