"""Speak text with espeak-ng in a separate process: JSON requests in, PCM out.

espeak-ng is GPL-3, and nothing of echodistill links to it. This script imports nothing of
echodistill and is started only as ``python espeak_process.py``; the two programs exchange lines
over pipes.

The synthesiser keeps hidden state (flutter phase, noise generator) from one utterance to the next.
Each request is therefore spoken by a child that is forked from the freshly initialised parent with
the noise generator reseeded, so that the samples of an utterance depend on its request alone.

One request is one JSON line ``{"text", "voice", "rate_wpm", "pitch"}`` on standard input; the reply
on standard output is one JSON line ``{"sample_rate", "samples"}`` followed by that many
little-endian int16 samples.
"""

import ctypes
import json
import os
import sys
from typing import Any

import espeakng_loader

SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS starts no thread, so a fork is safe.
RATE, PITCH = 1, 3  # These are values of espeak_PARAMETER.
UTF8 = 1  # This is the value of espeakCHARS_UTF8.

SynthCallback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def main() -> None:
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    # espeak-ng stores the path of its data in a buffer of 160 bytes, and the paths below it are
    # longer still, so it is started in that folder.
    os.chdir(espeakng_loader.get_data_path())
    sample_rate = library.espeak_Initialize(SYNCHRONOUS, 0, b".", 0)
    if sample_rate <= 0:
        sys.exit("espeak-ng could not be initialised")
    chunks: list[bytes] = []

    def collect(samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, count * 2))
        return 0

    # This reference keeps the callback alive: C holds only the pointer.
    callback = SynthCallback(collect)
    library.espeak_SetSynthCallback(callback)

    def speak(request: dict) -> bytes:
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        if library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
            sys.exit(f"espeak-ng has no voice {request['voice']!r}")
        library.espeak_SetParameter(RATE, request["rate_wpm"], 0)
        library.espeak_SetParameter(PITCH, request["pitch"], 0)
        text = request["text"].encode()
        library.espeak_Synth(text, len(text) + 1, 0, 1, 0, UTF8, None, None)
        return b"".join(chunks)

    while line := sys.stdin.buffer.readline():
        child = os.fork()
        if child == 0:
            pcm = speak(json.loads(line))
            header = {"sample_rate": sample_rate, "samples": len(pcm) // 2}
            sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + pcm)
            sys.stdout.buffer.flush()
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            sys.exit(1)


if __name__ == "__main__":
    main()
