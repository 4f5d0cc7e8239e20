"""The built-in default source: synthetic speech in many voices, and questions of several task
families about it.

Voices are espeak-ng accents crossed with speaker variants. A speaker belongs to one split only, so
the test voices are unseen in training. Words are always spoken on this machine, even where a
cluster does the other work, because workers need not have the synthesiser's process.
"""

import hashlib
import json
import subprocess
import sys
from contextlib import suppress
from functools import partial
from importlib.resources import files
from queue import Queue
from types import TracebackType

import numpy as np
import soxr

from echodistill.audio.backgrounds import background
from echodistill.audio.levels import SAMPLE_RATE, Waveform, power
from echodistill.audio.stored import Decoded
from echodistill.core.records import ALL_SPLITS
from echodistill.core.seeds import rng
from echodistill.data.sources import Raw, SourceClip, SourceClips, SourceFailed, split_groups
from echodistill.data.spoken_tasks import Plan, plan
from echodistill.data.tasks.acoustic import Utterance
from echodistill.params.corpus import CorpusParams
from echodistill.workers import worker_count

WORDS = tuple(
    "red blue green yellow black white cat dog horse bird fish cow one two three four five six"
    " seven nine".split()
)
ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-us-nyc", "en-gb-x-gbcwmd")
# These speaker variants are intelligible: whispers, robots and singers are left out.
VARIANTS = tuple(
    (
        "m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 Alex Andrea Andy Annie Denis Diogo Gene Henrique"
        " Hugo Jacky Lee Mario Michael Mike Nguyen Reed RicishayMax Storm adam anika aunty belinda"
        " benjamin boris caleb david ed edward ian iven john kaukovalta linda max miguel norbert"
        " pablo paul pedro quincy rob robert sandro shelby steph travis victor zac"
    ).split()
)
VOICES = 130
EDGE_S = (0.04, 0.15)  # Range of the silence in seconds before and after the words.
GAP_S = 0.1  # Silence in seconds between words that are spoken apart.
BACKGROUND_SNR_DB = 12.0
TRIM_LEVEL = 0.01  # Quieter samples than this share of the clip's peak are trimmed off.


class Espeak:
    """espeak-ng (GPL-3) in separate processes, one for each worker; requests and samples go through
    pipes.

    ``synthesize`` is thread-safe.
    """

    def __enter__(self) -> "Espeak":
        script = str(files("echodistill.data").joinpath("espeak_process.py"))
        self._processes = [
            subprocess.Popen(
                [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for _ in range(worker_count())
        ]
        self._idle: Queue[subprocess.Popen[bytes]] = Queue()
        for process in self._processes:
            self._idle.put(process)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            # The context closes the pipes and waits for the process. A request to a process that
            # has ended may still be unsent, which raises BrokenPipeError.
            with (
                suppress(BrokenPipeError),
                process,
            ):
                pass

    def synthesize(self, text: str, voice: str, rate_wpm: int, pitch: int) -> tuple[Waveform, int]:
        """Return the spoken ``text`` as a waveform, and its sampling rate in Hz.

        ``pitch`` is espeak's, from 0 to 99. Raise ``SourceFailed`` when the process fails.
        """
        request = {"text": text, "voice": voice, "rate_wpm": rate_wpm, "pitch": pitch}
        process = self._idle.get()
        try:
            assert process.stdin
            assert process.stdout
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            header = json.loads(process.stdout.readline())
            pcm = process.stdout.read(header["samples"] * 2)
        except (BrokenPipeError, json.JSONDecodeError) as error:
            raise SourceFailed(
                f"the espeak-ng process failed on voice {voice!r}: reinstall espeakng-loader"
            ) from error
        finally:
            self._idle.put(process)
        return np.frombuffer(pcm, dtype="<i2").astype(np.float32) / 32768.0, header["sample_rate"]


def voice_names(seed: int) -> list[str]:
    """Return the voices of the corpus: every variant once or twice, each time with another
    accent.
    """
    order = rng(seed, "voices").permutation(len(VARIANTS))
    voices = []
    for index in range(VOICES):
        variant = VARIANTS[order[index % len(VARIANTS)]]
        accent = ACCENTS[(index // len(VARIANTS) + order[index % len(VARIANTS)]) % len(ACCENTS)]
        voices.append(f"{accent}+{variant}")
    return voices


def read(params: CorpusParams, seed: int, espeak: Espeak) -> SourceClips:
    """Plan the clips, which are spoken when they are fetched; ``espeak`` must stay open until
    then.
    """
    # A variant is one speaker whatever the accent, so both its voices belong to one split.
    voices = voice_names(seed)
    speaker_of = {voice: voice.split("+")[1] for voice in voices}
    splits = split_groups(list(speaker_of.values()), params, seed)
    clips = []
    for split in ALL_SPLITS:
        members = [voice for voice in voices if splits[speaker_of[voice]] == split]
        for number in range(getattr(params.clips, split) if members else 0):
            voice = members[number % len(members)]
            clip_id = f"{split}-{number:05d}"
            others = [one for one in members if speaker_of[one] != speaker_of[voice]]
            planned = plan(params, seed, clip_id, split, voice, others, WORDS)
            clips.append(
                SourceClip(
                    clip_id=clip_id,
                    group=speaker_of[voice],
                    source=f"espeak-ng:{voice}",
                    fetch=partial(_speak, espeak, planned, voice, seed, clip_id),
                    decode=partial(_shape, seed, clip_id, planned.background),
                    questions=(planned.question,),
                    transcript=planned.text,
                    caption=planned.caption,
                )
            )
    return SourceClips(clips=clips, splits=splits)


def _speech_settings(seed: int, clip_id: str) -> tuple[int, int, np.random.Generator]:
    """Return a clip's rate in words per minute, its pitch (0 to 99), and the random stream for its
    edges and level.
    """
    stream = rng(seed, "builtin", clip_id, "voice")
    return int(stream.integers(160, 205)), int(stream.integers(30, 70)), stream


def _speak(espeak: Espeak, planned: Plan, voice: str, seed: int, clip_id: str) -> Raw:
    """Return the synthesiser's float32 samples of each utterance of a clip; words that are spoken
    together have the clip's own rate and pitch.
    """
    rate_wpm, pitch, _ = _speech_settings(seed, clip_id)
    utterances = planned.utterances or (Utterance(planned.text, voice, rate_wpm, pitch),)
    spoken = [espeak.synthesize(one.text, one.voice, one.rate_wpm, one.pitch) for one in utterances]
    return Raw(tuple(samples.tobytes() for samples, _ in spoken), spoken[0][1])


def _shape(seed: int, clip_id: str, sound: str | None, raw: Raw) -> tuple[Decoded, str]:
    """Return the spoken clip with its own edges and level, and the SHA-256 of the raw samples.

    ``sound`` is the name of a background, which is quieter than the speech by
    ``BACKGROUND_SNR_DB``.
    """
    assert raw.sample_rate is not None
    stream = _speech_settings(seed, clip_id)[2]
    parts = [_trimmed(content, raw.sample_rate) for content in raw.parts]
    if len(parts) > 1:  # Words that are spoken apart are equally loud.
        gap = np.zeros(int(GAP_S * SAMPLE_RATE), dtype=np.float32)
        loud = [part / np.max(np.abs(part)) for part in parts]
        parts = [piece for part in loud for piece in (part, gap)][:-1]
    speech = np.concatenate(parts)
    content = b"".join(raw.parts)
    before, after = (
        np.zeros(int(stream.uniform(*EDGE_S) * SAMPLE_RATE), dtype=np.float32) for _ in range(2)
    )
    clip = np.concatenate(
        [before, speech * (stream.uniform(0.2, 0.7) / np.max(np.abs(speech))), after]
    )
    if sound is not None:
        level = np.sqrt(power(clip)) * 10.0 ** (-BACKGROUND_SNR_DB / 20.0)
        clip = clip + level * background(sound, len(clip))
        clip = clip / max(1.0, float(np.max(np.abs(clip))))
    return Decoded(clip.astype(np.float32), raw.sample_rate, 1), hashlib.sha256(content).hexdigest()


def _trimmed(content: bytes, sample_rate: int) -> Waveform:
    """Return one utterance at 16 kHz without the silence around it; ``content`` has its float32
    samples.
    """
    spoken = np.frombuffer(content, dtype="<f4")
    voiced = np.flatnonzero(np.abs(spoken) > TRIM_LEVEL * np.max(np.abs(spoken)))
    speech: Waveform = soxr.resample(spoken[voiced[0] : voiced[-1] + 1], sample_rate, SAMPLE_RATE)
    return speech
