"""Write the model card in the format of Hugging Face: a YAML head with results, then how the model
was made, its figures and limits. Pure.
"""

import re
from collections.abc import Mapping
from typing import Any, get_args

import yaml

from echodistill.core.counted import counted
from echodistill.params.corpus import judged_on
from echodistill.params.methods import METHODS
from echodistill.params.references import Control
from echodistill.params.whole import Params
from echodistill.reports.sentences import (
    few_units_warning,
    headline_sentence,
    percent,
    points,
    units_text,
    without_choices,
)

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
ROWS = (
    ("clean_acc", "accuracy, clean"),
    ("clean_acc_forced", "accuracy by forced choice, clean"),
    ("clean_acc_forced_norm", "accuracy by forced choice per token, clean"),
    ("acc", "accuracy"),
    ("acc_forced", "accuracy by forced choice"),
    ("acc_forced_norm", "accuracy by forced choice per token"),
    ("noisy", "agreement with the base's clean answer"),
    ("gsr", "agreement with its own clean answer (GSR)"),
    ("unparsed", "free answers that name no choice"),
    ("truncated", "free answers cut at the length limit"),
)
"""Figures of the card's table; those of forced choice exist only where questions have choices."""


def model_card(
    run: Mapping[str, Any], figures: Mapping[str, Any], decision: Mapping[str, Any], params: Params
) -> str:
    """Return the card's text. ``run`` is the content of the student's run.json, ``figures`` of
    reports/metrics.json, ``decision`` of reports/promotion.json.
    """
    student, base, difference = figures["student"], figures["base"], figures["difference"]
    limit = f"{figures['headline_max_snr_db']:g} dB and less"
    rows = [
        (name, label if name.startswith("clean") else f"{label}, SNR {limit}")
        for name, label in ROWS
        if name in difference
    ]
    table = "\n".join(
        f"| {label} | {percent(base[name])} | {percent(student[name])} |"
        f" {points(difference[name])} |"
        for name, label in rows
    )
    by_snr = "\n".join(
        f"| {snr} dB | {percent(base['by_snr'][snr]['acc'])} |"
        f" {percent(student['by_snr'][snr]['acc'])} |"
        for snr in sorted(base["by_snr"], key=float)
    )
    unseen, seen = (
        ", ".join(kinds) or "none" for kinds in (params.mixes.unseen, params.mixes.seen)
    )
    levels = ", ".join(f"{snr:g}" for snr in params.mixes.train_snrs_db)
    failed, still = (_percent(system["unparsed"]) for system in (base, student))
    clean_share = _percent(params.mixes.train_clean_share)
    over = f"{_percent(figures['confidence'])} % intervals over {units_text(figures)}"
    notes = "".join(
        f"\n\n{line}" for line in (few_units_warning(figures), without_choices(base)) if line
    )
    reasons = [
        f"- {'met' if one['met'] else 'not met'}: {one['name']}, {points(one)}"
        for one in decision["criteria"]
    ]
    criteria = "\n".join(
        [*reasons, *(f"- obstacle: {obstacle}" for obstacle in decision["obstacles"])]
    )
    decided_on, version = decision["decided_on"], decision["champion"]["version"]
    opponents = (
        f"the base and version {version}, then champion"
        if version
        else "the base; there was no other champion"
    )
    view, standard = params.references.view, METHODS[run["method"]].view
    role = " As a control, the" if view in get_args(Control) else " The"
    control = "" if view == standard else f"{role} teacher's view was: {view}."
    apart = (
        "no speaker or group is in two splits"
        if not params.corpus.test.source
        else "no group of one source is in two splits"
    )
    description = METHODS[run["method"]].description
    steps = counted(run["steps"], "optimizer step")
    prompts = counted(params.train.prompts_per_step, "prompt")
    clips = counted(decided_on["clips"], "clip")
    groups = counted(decided_on["groups"], "group", "that is/that are")
    tested = f", tested on `{params.corpus.test.source}`" if params.corpus.test.source else ""
    return f"""---
{yaml.safe_dump(_head(run, figures, params), sort_keys=False, allow_unicode=True).strip()}
---

# {params.base.model} made robust to noise by echodistill

{description}.{control} Nothing is added at inference: it is asked as its base is.

## How it was made

- Base: `{params.base.model}`; weights trained: {run["weights"]}
- {steps} of {prompts}; seed {params.seed}
- Clips: source `{params.corpus.source}`{tested}; {apart}
- Noise in training: {seen} at {levels} dB; {clean_share} % of the clips clean
- Training fingerprint: `{run["fingerprint"]}`

## How well it does

{headline_sentence(figures)}

{counted(figures["clips"], "test clip")}, {over}, differences paired. In %.{notes}

| | base | this model | difference in points |
|---|---|---|---|
{table}

| SNR | base, accuracy | this model, accuracy |
|---|---|---|
{by_snr}

Free answers that name no choice count as wrong: at SNR {limit}, {failed} % of the base's and
{still} % of this model's. By forced choice the offered text with the highest log-probability
counts, summed over its tokens or as their mean (length-normalised).

## Decision

{"Promoted." if decision["promote"] else "Not promoted."} Decided against {opponents}, on
{clips} of {groups} no part of the test.
Differences in points, with intervals over groups.

{criteria}

## Limits

- Judged by multiple choice on the test above; other tasks, languages and rooms were not.
- Noises that only the test has: {unseen}. Distortions that are no added noise are no part of
  these figures.
- One training: another seed would differ by an unknown amount. GSR alone rewards a model that
  is wrong in the same way each time.
"""


def _head(run: Mapping[str, Any], figures: Mapping[str, Any], params: Params) -> dict[str, Any]:
    """Return the metadata that hubs index, with results in the form of their model index, in %."""
    metrics = [
        {
            "type": "accuracy",
            "name": f"accuracy, SNR {figures['headline_max_snr_db']:g} dB and less",
            "value": figures["student"]["acc"],
        },
        {"type": "accuracy", "name": "accuracy, clean", "value": figures["student"]["clean_acc"]},
    ]
    rounded = [metric | {"value": round(100 * float(metric["value"]), 1)} for metric in metrics]
    result = {
        "task": {"type": "audio-text-to-text"},
        "dataset": {
            "name": f"echodistill test ({judged_on(params.corpus)})",
            "type": judged_on(params.corpus),
        },
        "metrics": rounded,
    }
    # hubs look up the base by its id, so a folder's path or ``nano`` would lead nowhere
    base = {"base_model": params.base.model} if HUB_ID.fullmatch(params.base.model) else {}
    return base | {
        "pipeline_tag": "audio-text-to-text",
        "library_name": "transformers" if run["weights"] == "full" else "peft",
        "tags": list(dict.fromkeys(["audio", "noise-robustness", "echodistill", run["method"]])),
        "model-index": [{"name": "echodistill", "results": [result]}],
    }


def _percent(value: float) -> str:
    return percent(value).removesuffix(".0")
