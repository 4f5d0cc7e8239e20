"""Read real voices: two digits of one speaker for each clip, from a folder of the Free Spoken Digit
Dataset (``{digit}_{speaker}_{take}.wav``, 8 kHz).

A speaker belongs to one split only, so the test voices are unseen in training. Source:
doi.org/10.5281/zenodo.1342401 (CC BY-SA 4.0).
"""

import hashlib
import re
from functools import partial
from pathlib import Path

import numpy as np

from echodistill.audio.files import decode_bytes, read_file
from echodistill.audio.levels import SAMPLE_RATE, Waveform
from echodistill.audio.stored import Decoded
from echodistill.core.errors import UserError
from echodistill.core.paths import linked_folder_fault
from echodistill.core.progress import track
from echodistill.core.records import SPLITS, Quarantined
from echodistill.core.seeds import rng
from echodistill.data.sources import Raw, SourceClip, SourceClips, split_groups
from echodistill.data.spoken_words import ask, draw_words
from echodistill.params.corpus import CorpusParams

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
GAP_S = (0.02, 0.1)  # Range of the silence in seconds between the digits.
PEAK = 0.5  # Peak of both digits, so that neither masks the other.
MAX_TAKE_S = 10.0
DRAWS = 8  # Maximum number of draws of takes that are made to stay below the longest allowed clip.
_NAME = re.compile(r"([0-9])_(.+)_[0-9]+\.wav")

Takes = dict[str, dict[str, list[Path]]]
"""Recordings by speaker and word."""


def read(params: CorpusParams, seed: int) -> SourceClips:
    """Plan the clips, whose digits are joined when they are read. Files with other names, and those
    that cannot be used, are quarantined.

    Raise ``UserError`` when there are no usable recordings.
    """
    samples, takes, quarantined = _usable(Path(params.path))
    splits = split_groups(list(takes), params, seed)
    clips = []
    for split in SPLITS:
        members = sorted(speaker for speaker in takes if splits[speaker] == split)
        for number in range(getattr(params.clips, split) if members else 0):
            speaker = members[number % len(members)]
            clips.append(
                _plan_clip(
                    f"{split}-{number:05d}",
                    speaker,
                    takes[speaker],
                    samples,
                    params.max_duration_s,
                    seed,
                )
            )
    return SourceClips(clips, splits, quarantined)


def _usable(root: Path) -> tuple[dict[Path, int], Takes, list[Quarantined]]:
    """Return the number of samples of each usable recording, the usable recordings by speaker and
    word, and the files and speakers that are left out.

    Raise ``UserError`` when no speaker has recordings of two digits.
    """
    found, quarantined = _find(root)
    files = [path for words in found.values() for paths in words.values() for path in paths]
    samples: dict[Path, int] = {}
    for path in track(files, len(files), "fsdd", "recordings"):
        try:
            samples[path] = _at_peak(read_file(path), str(path))[0].size
        except UserError as error:
            quarantined.append(Quarantined(path.name, str(error).removeprefix(f"{path}: ")))
    takes: Takes = {}
    for speaker, words in found.items():
        of_word = {
            word: usable
            for word, paths in words.items()
            if (usable := [path for path in paths if path in samples])
        }
        if len(of_word) >= 2:
            takes[speaker] = of_word
        else:
            spoken = next(iter(of_word), "nothing")
            quarantined.append(
                Quarantined(f"speaker {speaker}", f"has only {spoken}: a clip needs two digits")
            )
    if not takes:
        raise UserError(
            f"{root}: no speaker with usable recordings of two digits, named digit_speaker_take.wav"
        )
    return samples, takes, quarantined


def _find(root: Path) -> tuple[Takes, list[Quarantined]]:
    """Return the recordings by speaker and word, in a fixed order, and the files with other names.

    Raise ``UserError`` where the folder is missing, or DVC would notice no change in it.
    """
    folder = root / "recordings" if (root / "recordings").is_dir() else root
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder: set corpus.path to a copy of the Free Spoken Digit Dataset"
        )
    if fault := linked_folder_fault(folder / "*.wav", root):
        raise UserError(f"{folder}: {fault}")
    takes: Takes = {}
    quarantined = []
    for path in sorted(folder.iterdir()):
        if match := _NAME.fullmatch(path.name):
            takes.setdefault(match[2], {}).setdefault(WORDS[int(match[1])], []).append(path)
        elif path.is_file() and not path.name.startswith("."):
            quarantined.append(
                Quarantined(path.name, "the name is not of the form digit_speaker_take.wav")
            )
    return takes, quarantined


def _plan_clip(
    clip_id: str,
    speaker: str,
    takes: dict[str, list[Path]],
    samples: dict[Path, int],
    max_duration_s: float,
    seed: int,
) -> SourceClip:
    """Draw words, takes and gap of a clip. A pair that is still too long after ``DRAWS`` draws is
    left for the corpus stage to refuse.
    """
    stream = rng(seed, "fsdd", clip_id)
    words = draw_words(stream, sorted(takes))
    question = ask(stream, clip_id, words, WORDS)
    gap = int(stream.uniform(*GAP_S) * SAMPLE_RATE)
    for _ in range(DRAWS):
        first, second = (takes[word][int(stream.integers(len(takes[word])))] for word in words)
        if samples[first] + gap + samples[second] <= max_duration_s * SAMPLE_RATE:
            break
    return SourceClip(
        clip_id=clip_id,
        group=speaker,
        source=f"{first} + {second.name}",
        fetch=partial(_fetch, first, second),
        decode=partial(_join, str(first), str(second), gap),
        questions=(question,),
        transcript=" ".join(words),
    )


def _fetch(first: Path, second: Path) -> Raw:
    return Raw((read_file(first), read_file(second)))


def _join(first: str, second: str, gap: int, raw: Raw) -> tuple[Decoded, str]:
    """Return both digits at one peak with ``gap`` samples of silence between them, and the SHA-256
    of their files.
    """
    (before, rate), (after, _) = (
        _at_peak(content, name) for content, name in zip(raw.parts, (first, second), strict=True)
    )
    clip = np.concatenate([before, np.zeros(gap, dtype=np.float32), after])
    return Decoded(clip, rate, 1), hashlib.sha256(b"".join(raw.parts)).hexdigest()


def _at_peak(content: bytes, name: str) -> tuple[Waveform, int]:
    """Return a recording with the peak ``PEAK``, and its own sampling rate in Hz.

    Raise ``UserError`` naming the recording when it is damaged or silent.
    """
    decoded = decode_bytes(content, name, MAX_TAKE_S)
    peak = np.max(np.abs(decoded.waveform))
    if peak == 0.0:
        raise UserError(f"{name}: silent")
    return (decoded.waveform * (PEAK / peak)).astype(np.float32), decoded.source_rate
