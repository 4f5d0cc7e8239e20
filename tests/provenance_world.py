"""A pipeline's folder as it is after a run, small and made by hand but for the corpus: real
recordings, real hashes, a real lock.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from echodistill.audio.files import write_wav
from echodistill.import_graph import ROOT
from echodistill.lineage.publish import publish
from echodistill.params.whole import validate_params
from echodistill.stages.corpus import corpus
from echodistill.storage.dvc_hashes import dvc_md5
from tests.folders import hum

CLIPS = 6
FIGURES = {
    "base": {"acc": 0.5},
    "student": {"acc": 0.75},
    "difference": {"acc": {"value": 0.25, "low": 0.1, "high": 0.4}},
}
STAGES: dict[str, tuple[list[str], list[str], list[str]]] = {
    "corpus": (["data/raw", "build/code/corpus.sha256"], ["data/corpus"], ["seed", "corpus"]),
    "gate@corpus": (
        ["data/corpus", "data/corpus/clips.parquet"],
        ["reports/gates/corpus.json"],
        ["gates"],
    ),
    "base": (["data/corpus", "reports/gates/corpus.json"], ["models/base"], ["base"]),
    "train": (
        ["data/corpus", "models/base", "reports/gates/corpus.json"],
        ["models/student"],
        ["seed", "train"],
    ),
    "evaluate": (
        ["models/student/run.json"],
        ["reports/metrics.json", "reports/accuracy_by_snr.png"],
        ["evaluate"],
    ),
    "promote": (["reports/metrics.json"], ["reports/promotion.json"], ["promote"]),
    "card": (
        ["models/student/run.json", "reports/promotion.json"],
        ["reports/model_card.md"],
        ["mixes"],
    ),
}
"""What each reads, makes, and its parameters."""


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def make_world(folder: Path) -> None:
    """Fill ``folder``, which must be the working folder: the corpus names its recordings from
    there.
    """
    raw = folder / "data/raw"
    raw.mkdir(parents=True)
    rows = []
    for number in range(CLIPS):
        write_wav(raw / f"{number}.wav", hum(0.1 + 0.1 * number))
        rows.append(
            {
                "id": f"q{number}",
                "audio_path": f"{number}.wav",
                "question": "?",
                "choices": ["a", "b"],
                "answer": "a",
            }
        )
    write(raw / "manifest.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["corpus"] |= {"source": "folder", "validation_share": 0.0, "decision_share": 0.0}
    write(folder / "params.yaml", yaml.safe_dump(values))
    write(folder / "dvc.yaml", "stages: {}\n")
    write(folder / "build/code/corpus.sha256", "code")
    corpus(validate_params(values, "params.yaml"), Path("data/corpus"))
    write(folder / "reports/gates/corpus.json", "{}")
    write(folder / "models/base/model.safetensors", "base weights")
    write(folder / "models/student/model.safetensors", "student weights")
    write(
        folder / "models/student/run.json",
        json.dumps({"fingerprint": "world", "method": "grpo", "steps": 3, "weights": "full"}),
    )
    write(folder / "models/student/metrics.jsonl", '{"step": 1, "loss": 1.0}\n')
    write(folder / "reports/metrics.json", json.dumps(FIGURES))
    write(
        folder / "reports/promotion.json",
        json.dumps({"promote": True, "champion": {"version": None}, "criteria": []}),
    )
    write(folder / "reports/accuracy_by_snr.png", "no real picture")
    write(folder / "reports/model_card.md", "# A card")
    for name in ("base", "student"):
        write(folder / f"data/answers/{name}.parquet", f"no real answers of the {name}")
    write_lock(folder)


def write_lock(folder: Path) -> None:
    """``dvc.lock`` for what is there now."""
    values = yaml.safe_load((folder / "params.yaml").read_text())

    def rows(paths: list[str]) -> list[dict[str, Any]]:
        return [{"path": path, "hash": "md5", "md5": dvc_md5(folder / path)} for path in paths]

    stages = {
        name: {
            "cmd": (
                f"python -m echodistill.stages.{name.split('@')[0]} {' '.join(outs)}"
                f" {' '.join(deps)}"
            ),
            "deps": rows(deps),
            "params": {"params.yaml": {key: values[key] for key in keys}},
            "outs": rows(outs),
        }
        for name, (deps, outs, keys) in STAGES.items()
    }
    write(folder / "dvc.lock", yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False))


def register() -> str:
    """What ``echodistill register`` calls, in the working folder."""
    return publish(
        Path("models/student"),
        Path("models/base"),
        Path("reports"),
        Path("data/answers"),
        Path("dvc.lock"),
    )
