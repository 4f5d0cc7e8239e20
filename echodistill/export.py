"""Wavs of chosen mixes, clean and noisy, to listen to."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from echodistill.atomic import atomic_path
from echodistill.audio.files import write_wav
from echodistill.audio.kinds import condition_name
from echodistill.audio.mixing import Mix
from echodistill.audio.recordings import NoiseLibrary, recordings_folder
from echodistill.datasets.store import Corpus
from echodistill.errors import UserError
from echodistill.params import load_params
from echodistill.records import Question, read_rows


def export_mixes(
    params_file: Path, corpus_folder: Path, mixes_folder: Path, out: Path, mix_ids: Sequence[str], condition: str, count: int
) -> tuple[list[Path], list[str]]:
    """Write ``<mix>.clean.wav`` and ``<mix>.noisy.wav`` for each chosen mix; the paths, and commands that ask about them.

    Raises ``UserError`` when none matches.
    """
    settings = load_params(params_file).mixes
    corpus = Corpus(corpus_folder)
    rows = {mix.mix_id: mix for mix in read_rows(mixes_folder / "mixes.parquet", Mix)}
    if unknown := [mix_id for mix_id in mix_ids if mix_id not in rows]:
        raise UserError(f"no mix {unknown[0]!r} in {mixes_folder}; a mix id looks like {next(iter(rows))!r}")
    chosen = [rows[mix_id] for mix_id in mix_ids]
    if condition:
        fitting = [m for m in rows.values() if m.split == "test" and condition_name(m.noise_kind, m.snr_db) == condition]
        if not fitting:
            known = sorted({condition_name(m.noise_kind, m.snr_db) for m in rows.values() if m.split == "test"})
            raise UserError(f"no test mix under condition {condition!r}; known: {', '.join(known)}")
        chosen += fitting[:count]
    if not chosen:
        raise UserError("name mixes with --mix, or a condition with --condition, e.g. --condition crowd@-10")
    noise = NoiseLibrary(corpus.waveform, recordings_folder(settings.noise, settings.recordings))
    written = []
    for mix in chosen:
        rendered = noise.render(mix, corpus.waveform(mix.clip_id))
        for view in ("clean", "noisy"):
            path = out / f"{mix.mix_id.replace('/', '_')}.{view}.wav"
            with atomic_path(path) as temporary:
                write_wav(temporary, getattr(rendered, view))
            written.append(path)
    noisy = zip(chosen, written[1::2], strict=True)
    return written, [_ask(path, row) for mix, path in noisy for row in corpus.questions.values() if row.clip_id == mix.clip_id]


def _ask(wav: Path, row: Question) -> str:
    """The command that asks ``row`` about ``wav``, with the right answer behind it."""
    choices = [f"--choices {shlex.quote(choice)}" for choice in row.choices]
    if not any("," in choice for choice in row.choices):
        choices = [f"--choices {shlex.quote(','.join(row.choices))}"] if choices else []
    return " ".join(
        ["echodistill ask", shlex.quote(str(wav)), shlex.quote(row.question), *choices, f"   # right: {' '.join(row.answer.split())}"]
    )
