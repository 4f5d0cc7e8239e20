"""Stage ``promote``: decide whether the student may replace the champion, and write the decision
with its reasons as JSON.

The decision uses the decision split alone: this stage reads nothing of the reported test.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from echodistill.champion_answers import ANSWERS, STATUS, read_status
from echodistill.core.atomic import atomic_path
from echodistill.core.counted import counted
from echodistill.core.records import Answer, Question, read_rows
from echodistill.data.store import Corpus
from echodistill.evaluation.criteria import Opponent, judge, obstacles, remarks
from echodistill.evaluation.decision import Differences, decision_size, paired_differences
from echodistill.evaluation.explained import Faults, explain, next_steps
from echodistill.evaluation.given_answers import given_answer
from echodistill.evaluation.skill import skill_of
from echodistill.evaluation.units import unit_of
from echodistill.params.whole import Params
from echodistill.reports.sentences import decision_lines
from echodistill.stages.entry import run_stage


def promote(
    params: Params,
    out: Path,
    corpus_folder: Path,
    base_answers: Path,
    student_answers: Path,
    champion: Path,
    base_facts: Path,
) -> None:
    """Write the decision to ``out``. A negative decision is a result, not a failure, and states
    possible reasons.

    ``champion`` is the folder of the champion's answers, whose status also states whether there is
    a champion; ``base_facts`` is ``base.json``.
    """
    corpus, status = Corpus(corpus_folder), read_status(champion)
    base, student, of_champion = (
        read_rows(path, Answer) for path in (base_answers, student_answers, champion / ANSWERS)
    )
    units = unit_of(corpus.clips.values())
    size = decision_size(student, corpus.questions, units)
    opponents: dict[Opponent, list[Answer]] = {"base": base} if size.clips else {}
    if size.clips and status.has_answered:
        opponents["champion"] = of_champion
    differences: dict[Opponent, Differences] = {
        name: paired_differences(
            student, answers, corpus.questions, units, params.evaluate, params.seed
        )
        for name, answers in opponents.items()
    }
    judged = judge(differences, params.promote.clean_acc_margin)
    forbidden = obstacles(size, status.fault)
    promoted = not forbidden and all(one.met for one in judged)
    notes, to_try = remarks(size, judged), []
    if not promoted and size.clips:
        faults = _faults(student, corpus.questions)
        skill = skill_of(json.loads(base_facts.read_text(encoding="utf-8")))
        notes += explain(size, judged, faults, _faults(base, corpus.questions), skill)
        to_try = next_steps(judged, faults, skill)
    decision: dict[str, Any] = {
        "promote": promoted,
        "champion": {"version": status.version, "reason": status.reason},
        "decided_on": {
            "clips": size.clips,
            "groups": size.groups,
            "headline_max_snr_db": params.evaluate.headline_max_snr_db,
            "confidence": params.evaluate.confidence,
        },
        "obstacles": forbidden,
        "criteria": [one.as_dict() for one in judged],
        "remarks": notes,
        **({"next": to_try} if to_try else {}),
        "inputs_sha256": {
            path.relative_to(student_answers.parent).as_posix(): hashlib.sha256(
                path.read_bytes()
            ).hexdigest()
            for path in (base_answers, student_answers, champion / ANSWERS, champion / STATUS)
        },
    }
    with atomic_path(out) as temporary:
        temporary.write_text(json.dumps(decision, indent=1) + "\n", encoding="utf-8")
    against = (
        f"champion version {status.version}" if status.version else f"no champion ({status.reason})"
    )
    print(
        f"decided on {counted(size.clips, 'clip')} of {counted(size.groups, 'group')}, against"
        f" the base and {against}"
    )
    for line in decision_lines(decision):
        print(line)


def _faults(answers: Sequence[Answer], questions: Mapping[str, Question]) -> Faults:
    unparsed = sum(
        given_answer(row.response, questions[row.question_id].choices) is None for row in answers
    )
    return Faults(sum(row.truncated for row in answers) / len(answers), unparsed / len(answers))


if __name__ == "__main__":
    run_stage(promote, sections=("seed", "evaluate", "promote"))
