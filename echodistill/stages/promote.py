"""Stage ``promote``: may the student replace the champion? The decision and its reasons, as JSON.

It rests on the decision split alone: nothing of the reported test is read here.
"""

import hashlib
import json
from pathlib import Path

from echodistill.atomic import atomic_path
from echodistill.champion_answers import ANSWERS, STATUS, read_status
from echodistill.datasets.store import Corpus
from echodistill.evaluation.criteria import Opponent, judge, obstacles, remarks
from echodistill.evaluation.decision import Differences, decision_size, paired_differences
from echodistill.evaluation.units import unit_of
from echodistill.params import Params
from echodistill.records import Answer, read_rows
from echodistill.stages.entry import run_stage


def promote(params: Params, out: Path, corpus_folder: Path, base_answers: Path, student_answers: Path, champion: Path) -> None:
    """Write the decision to ``out``. A negative decision is a result, not a failure.

    ``champion`` is the folder of the champion's answers, which says too whether there is one.
    """
    corpus, status = Corpus(corpus_folder), read_status(champion)
    base, student, of_champion = (read_rows(path, Answer) for path in (base_answers, student_answers, champion / ANSWERS))
    units = unit_of(corpus.clips.values())
    size = decision_size(student, corpus.questions, units)
    opponents: dict[Opponent, list[Answer]] = {"base": base} if size.clips else {}
    if size.clips and status.has_answered:
        opponents["champion"] = of_champion
    differences: dict[Opponent, Differences] = {
        name: paired_differences(student, answers, corpus.questions, units, params.compare, params.seed)
        for name, answers in opponents.items()
    }
    judged = judge(differences, params.promote.clean_acc_margin)
    forbidden = obstacles(size, status.fault)
    promoted = not forbidden and all(one.met for one in judged)
    notes = remarks(size, judged)
    decision = {
        "promote": promoted,
        "champion": {"version": status.version, "reason": status.reason},
        "decided_on": {
            "clips": size.clips,
            "groups": size.groups,
            "headline_max_snr_db": params.compare.headline_max_snr_db,
            "confidence": params.compare.confidence,
        },
        "obstacles": forbidden,
        "criteria": [one.as_dict() for one in judged],
        "remarks": notes,
        "inputs_sha256": {
            path.relative_to(student_answers.parent).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (base_answers, student_answers, champion / ANSWERS, champion / STATUS)
        },
    }
    with atomic_path(out) as temporary:
        temporary.write_text(json.dumps(decision, indent=1) + "\n", encoding="utf-8")
    against = f"champion version {status.version}" if status.version else f"no champion ({status.reason})"
    print(f"decided on {size.clips} clips of {size.groups} groups, against the base and {against}")
    for remark in notes:
        print(f"note: {remark}")
    reasons = [*forbidden, *(f"not so: {one.criterion.name}" for one in judged if not one.met)]
    print("promote" if promoted else "do not promote: " + "; ".join(reasons))


if __name__ == "__main__":
    run_stage(promote, sections=("seed", "compare", "promote"))
