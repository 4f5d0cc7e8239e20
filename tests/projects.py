"""A small project as a user would have it: the repository's files, recordings of tones, parameters
that run in a minute or two.
"""

import json
import shutil
import subprocess
from pathlib import Path

import soundfile
import yaml

from echodistill.overrides import apply_overrides
from echodistill.presets import preset_overrides
from tests.conftest import WORDS, tone

ROOT = Path(__file__).parents[1]
SPEAKERS = 8
CLIPS = 15  # a speaker


def small_project(folder: Path) -> None:
    """A copy of the tracked files, its own git and DVC, a folder of tones and small parameters."""
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in files.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith(("tests/", "dvc.lock")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    rows = []
    for speaker in range(SPEAKERS):
        for number in range(CLIPS):
            word, name = WORDS[number % 3], f"s{speaker}-{number}.wav"
            soundfile.write(folder / "data/raw" / name, tone(word, name, 0.4), 16_000)
            position = number // 3 % 3
            choices = [*WORDS[position:], *WORDS[:position]]
            row = {
                "id": f"s{speaker}-{number}",
                "audio_path": name,
                "question": "Which tone?",
                "choices": choices,
                "answer": word,
            }
            rows.append(row | {"group": f"s{speaker}"})
    (folder / "data/raw/broken.wav").write_text("no audio at all")
    rows.append(rows[0] | {"id": "broken", "audio_path": "broken.wav", "group": "s1"})
    (folder / "data/raw/manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["corpus"] |= {
        "source": "folder",
        "validation_share": 0.13,
        "decision_share": 0.25,
        "max_duration_s": 0.5,
    }
    small = preset_overrides(["small"], folder / "presets")
    fewer = ["train.steps=4", "train.prompts_per_step=4", "train.checkpoint_every=2"]
    params = apply_overrides(params, [*small, *fewer])
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
