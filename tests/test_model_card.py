"""The model card: a head that hubs can read, the figures of the reports, and its limits."""

import json
from pathlib import Path
from typing import Any

import yaml

from echodistill.reports.model_card import model_card
from echodistill.reports.sentences import headline_sentence
from tests.test_stages import params_of

GAIN = {"value": 0.153, "low": 0.114, "high": 0.19}
FALL = {"value": -0.183, "low": -0.21, "high": -0.15}
CELL = {"acc": 0.339, "noisy": 0.3, "gsr": 0.3, "n": 10}
SYSTEM: dict[str, Any] = {
    "clean_acc": 0.933,
    "acc": 0.487,
    "acc_forced": 0.63,
    "acc_forced_norm": 0.62,
}
SYSTEM |= {
    "noisy": 0.476,
    "gsr": 0.476,
    "unparsed": 0.264,
    "truncated": 0.0,
    "n": 360,
    "n_forced": 360,
}
FIGURES: dict[str, Any] = {
    "base": SYSTEM | {"by_snr": {"-10": CELL, "20": CELL}},
    "student": (
        SYSTEM
        | {
            "acc": 0.64,
            "acc_forced": 0.704,
            "unparsed": 0.081,
            "by_snr": {"-10": CELL | {"acc": 0.533}, "20": CELL},
        }
    ),
    "difference": (
        dict.fromkeys(("acc", "noisy", "gsr", "clean_acc", "acc_forced_norm"), GAIN)
        | {
            "acc_forced": {"value": 0.074, "low": 0.038, "high": 0.109},
            "unparsed": FALL,
        }
    ),
    "headline_max_snr_db": 0.0,
    "confidence": 0.95,
    "clips": 120,
    "units": 16,
    "unit": "group",
}
RUN = {"fingerprint": "36b0", "method": "echodistill", "steps": 160, "weights": "full"}
DECISION: dict[str, Any] = {
    "promote": True,
    "champion": {"version": "3", "reason": ""},
    "decided_on": {"clips": 600, "groups": 10},
    "obstacles": [],
    "criteria": [
        {"name": "noisy accuracy gains", "met": True, **GAIN},
        {"name": "clean holds", "met": False, "value": -0.01, "low": -0.031, "high": 0.01},
    ],
}


def test_the_head_is_yaml_with_the_results() -> None:
    _, head, body = model_card(RUN, FIGURES, DECISION, params_of()).split("---\n", 2)
    found = yaml.safe_load(head)
    assert "base_model" not in found  # no hub has a nano
    assert found["tags"] == ["audio", "noise-robustness", "echodistill"]
    hub = model_card(
        RUN, FIGURES, DECISION, params_of(base={"model": "Qwen/Qwen2-Audio-7B-Instruct"})
    )
    assert yaml.safe_load(hub.split("---\n", 2)[1])["base_model"] == "Qwen/Qwen2-Audio-7B-Instruct"
    assert found["library_name"] == "transformers"
    assert [one["value"] for one in found["model-index"][0]["results"][0]["metrics"]] == [
        64.0,
        93.3,
    ]
    assert "| accuracy, SNR 0 dB and less | 48.7 | 64.0 | +15.3 [+11.4, +19.0] |" in body
    assert (
        "| accuracy by forced choice, SNR 0 dB and less | 63.0 | 70.4 | +7.4 [+3.8, +10.9] |"
        in body
    )
    assert (
        "| free answers that name no choice, SNR 0 dB and less | 26.4 | 8.1 | -18.3 [-21.0,"
        " -15.0] |" in body
    )
    unparsed = "at SNR 0 dB and less, 26.4 % of the base's and 8.1 % of this model's"
    assert unparsed in " ".join(body.split())
    assert "120 test clips, 95 % intervals over 16 groups" in body
    assert headline_sentence(FIGURES) in body
    assert "Warning" not in body
    assert "Warning: the test has only 4 groups" in model_card(
        RUN, FIGURES | {"units": 4}, DECISION, params_of()
    )
    assert body.index("| -10 dB | 33.9 | 53.3 |") < body.index("| 20 dB |")


def test_it_states_how_it_was_made_and_what_it_cannot_do() -> None:
    text = model_card(RUN, FIGURES, DECISION | {"promote": False}, params_of())
    for part in (
        "160 optimizer steps of 24 prompts",
        "arXiv 2605.23954",
        "Not promoted.",
        "Decided against the base and version 3, then champion, on 600 clips of 10 groups that are",
        "- met: noisy accuracy gains, +15.3 [+11.4, +19.0]",
        "- not met: clean holds, -1.0 [-3.1, +1.0]",
    ):
        assert part in " ".join(text.split())
    assert "obstacle" not in text
    first = model_card(
        RUN,
        FIGURES,
        DECISION | {"champion": {"version": None}, "obstacles": ["one group only"]},
        params_of(),
    )
    assert "against the base; there was no other champion, on 600" in " ".join(first.split())
    assert "- obstacle: one group only" in first
    assert "As a control" not in text
    control = model_card(RUN, FIGURES, DECISION, params_of(references={"view": "silence"}))
    assert "As a control, the teacher's view was: silence." in control
    sections: dict[str, Any] = {
        "references": {"view": "transcript"},
        "base": {"model": "org/model"},
    }
    read = model_card(RUN, FIGURES, DECISION, params_of(**sections))
    assert "The teacher's view was: transcript." in read
    assert "Noises that only the test has: shower, traffic, laugh" in text
    assert "None" not in text
    assert json.dumps(str(Path.cwd()))[1:-1] not in text
