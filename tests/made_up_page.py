"""A small report whose figures, examples and failures are made up, for the tests of the page and of
how a browser shows it.
"""

from echodistill.core.records import Answer, Question
from echodistill.evaluation.budget import budget_of
from echodistill.evaluation.generalisation import level_table
from echodistill.evaluation.many_systems import table_of
from echodistill.evaluation.rotation import Fold, rotation_table
from echodistill.reports.audio_examples import draw_examples
from echodistill.reports.page import AudioExample, Failure, Page
from tests.answers import answer, units_of
from tests.conftest import tone
from tests.test_evidence import SETTINGS, system

CHOICES = ("red", "blue", "green")
KINDS = ("crowd", "rain")


def question(number: int) -> Question:
    return Question(f"q{number}", f"c{number}", "test", "Which <colour>?", CHOICES, "red", 0)


QUESTIONS = {f"q{number}": question(number) for number in range(8)}


def answers(noisy: dict[int, str]) -> list[Answer]:
    """Right on clean audio; in noise as given by the question's number, else "blue"."""
    rows = [
        answer(f"c{number}/clean", f"q{number}", "clean", None, "red", CHOICES)
        for number in range(8)
    ]
    for number in range(8):
        for kind in KINDS:
            rows.append(
                answer(
                    f"c{number}/{kind}@0",
                    f"q{number}",
                    kind,
                    0.0,
                    noisy.get(number, "blue"),
                    CHOICES,
                )
            )
            rows.append(answer(f"c{number}/{kind}@20", f"q{number}", kind, 20.0, "red", CHOICES))
    return rows


def made_up_page() -> Page:
    """Three systems, one fixed and one broken answer, fifty unparsed ones."""
    systems = [system("base", 0.4, 1), system("echodistill", 0.7), system("grpo", 0.5)]
    pairs = [("echodistill", "base"), ("grpo", "base"), ("echodistill", "grpo")]
    table = table_of(systems, pairs, SETTINGS, 1)
    found = draw_examples(answers({0: "red"}), answers({2: "red"}), QUESTIONS, 0.0, 1, 3)
    wave = tone("low", "page")
    training = {
        "echodistill": [
            {"step": step, "reward": 0.1 * step, "loss": 1.0 / step} for step in range(1, 30)
        ]
    }
    failures = [Failure("base", "", "c1/crowd@0", "Which?", "<b>neither</b>")] * 50
    facts = [("Test", "8 clips & more")]
    shared = answers({0: "red", 1: "red"})
    levels = level_table(
        "New voices",
        shared,
        [shared],
        QUESTIONS,
        units_of(QUESTIONS.values()),
        [0.0],
        SETTINGS,
        1,
    )
    spent = budget_of([[{"sampled_tokens": 230.0, "target_tokens": 60.0}] * 160], 24)
    table |= {
        "generalisation": {"new": levels},
        "distortions": {},
        "budget": {"echodistill": spent},
        "unseen_kinds": ["wind"],
    }
    folds = [Fold(("wind",), systems[1].scored[0]), Fold(("crowd",), systems[2].scored[0])]
    table["rotation"] = {"held_out": [["wind"], ["crowd"]]} | rotation_table(
        systems[0].scored[0], folds, SETTINGS, 1
    )
    return Page(
        table=table,
        audio_examples=[AudioExample(one, wave, -wave) for one in found],
        domains=[("Which?", 40.0, 30.0, 50.0)],
        training=training,
        failures=failures,
        answer_count=900,
        quarantined=[],
        facts=facts,
    )
