"""Write the clean and noisy wavs of chosen mixes for listening."""

import hashlib
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from echodistill.audio.files import write_wav
from echodistill.audio.kinds import condition_name
from echodistill.audio.mixing import Mix
from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError
from echodistill.core.records import Question, read_rows
from echodistill.core.similar import meant
from echodistill.data.mixes.noise_settings import open_noise
from echodistill.data.store import Corpus

MAX_NAME_BYTES = 160
"""Number of bytes of a mix's part of a file name; file systems allow 255 for the whole name."""


def export_mixes(
    corpus_folder: Path,
    mixes_folder: Path,
    out: Path,
    mix_ids: Sequence[str],
    condition: str,
    count: int,
) -> tuple[list[Path], list[str]]:
    """Write ``<mix>.clean.wav`` and ``<mix>.noisy.wav`` for each chosen mix.

    Return the paths, and commands that ask about them. Raise ``UserError`` where no mix matches.
    """
    corpus = Corpus(corpus_folder)
    rows = {mix.mix_id: mix for mix in read_rows(mixes_folder / "mixes.parquet", Mix)}
    if unknown := [mix_id for mix_id in mix_ids if mix_id not in rows]:
        raise UserError(
            f"no mix {unknown[0]!r} in {mixes_folder}; a mix id looks like {next(iter(rows))!r}"
        )
    chosen = [rows[mix_id] for mix_id in mix_ids]
    if condition:
        fitting = [
            m
            for m in rows.values()
            if m.split == "test" and condition_name(m.noise_kind, m.snr_db) == condition
        ]
        if not fitting:
            known = sorted(
                {condition_name(m.noise_kind, m.snr_db) for m in rows.values() if m.split == "test"}
            )
            noisy = [name for name in known if "@" in name]
            kinds = sorted({name.rpartition("@")[0] for name in noisy})
            raise UserError(
                f"no test mix under condition {condition!r}; there are clean and KIND@SNR, such"
                f" as {noisy[0] if noisy else 'crowd@-10'}, of the kinds {', '.join(kinds)}"
                f"{meant(condition, known)}"
            )
        chosen += fitting[:count]
    if not chosen:
        raise UserError(
            "name mixes with --mix, or a condition with --condition, e.g. --condition crowd@-10"
        )
    noise, names = open_noise(mixes_folder, corpus), file_names(rows)
    written, asked = [], []
    for mix in dict.fromkeys(chosen):
        rendered = noise.render(mix, corpus.waveform(mix.clip_id))
        for view in ("clean", "noisy"):
            path = out / f"{names[mix.mix_id]}.{view}.wav"
            with atomic_path(path) as temporary:
                write_wav(temporary, getattr(rendered, view))
            written.append(path)
        asked += [
            _ask_command(path, row)
            for row in corpus.questions.values()
            if row.clip_id == mix.clip_id
        ]
    return written, asked


def file_names(mix_ids: Iterable[str]) -> dict[str, str]:
    """Return a distinct file name for each mix: its id, with digits of the id's hash where needed.

    The digits are added where names would look the same or a name is too long. File systems allow
    no ``/`` in a name, and some distinguish neither upper from lower case nor the two forms of an
    accent.
    """
    plain = {
        mix_id: re.sub(r"[/\\\x00-\x1f\x7f]", "_", mix_id).encode(errors="replace").decode()
        for mix_id in mix_ids
    }
    alike = Counter(map(_normalised, plain.values()))
    return {
        mix_id: name
        if alike[_normalised(name)] == 1 and len(name.encode()) <= MAX_NAME_BYTES
        else _with_hash(name, mix_id)
        for mix_id, name in plain.items()
    }


def _normalised(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _with_hash(name: str, mix_id: str) -> str:
    digest = hashlib.sha256(mix_id.encode(errors="surrogatepass")).hexdigest()
    return f"{name.encode()[:MAX_NAME_BYTES].decode(errors='ignore')}-{digest[:12]}"


def _ask_command(wav: Path, row: Question) -> str:
    """Return the command that asks ``row`` about ``wav``, followed by the right answer."""
    choices = [f"--choices {shlex.quote(choice)}" for choice in row.choices]
    if not any("," in choice for choice in row.choices):
        choices = [f"--choices {shlex.quote(','.join(row.choices))}"] if choices else []
    return " ".join(
        [
            "echodistill ask",
            shlex.quote(str(wav)),
            shlex.quote(row.question),
            *choices,
            f"   # right: {' '.join(row.answer.split())}",
        ]
    )
