"""The commands about clips: ``ask``, ``listen`` and ``export-audio``.

They load the model libraries inside, because that takes seconds.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from echodistill.core.errors import UserError
from echodistill.core.prompt_style import PromptStyle
from echodistill.project import BASE, CORPUS, MIXES, STUDENT, in_repository


def ask(
    clip: Annotated[
        Path,
        typer.Argument(
            help="An audio file: wav, flac, ogg or mp3; - reads it from standard input."
        ),
    ],
    question: Annotated[str, typer.Argument(help="What to ask about it.")],
    choices: Annotated[
        list[str] | None,
        typer.Option(help="Choices: once, with commas between; or once for each choice."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="student, base, a model folder or a hub id.  \\[default: student]"),
    ] = None,
    both: Annotated[
        bool, typer.Option("--both", help="Ask base and student, and print both answers.")
    ] = False,
    noise: Annotated[
        str, typer.Option(help="Put the clip in noise of this kind first, e.g. crowd.")
    ] = "",
    snr: Annotated[
        float | None,
        typer.Option(help="With --noise: its level, dB; the lower the louder.  \\[default: 0]"),
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=(
                "Longest answer, in tokens.  \\[default: as the longest choice needs, and 16;"
                " without choices 256]"
            ),
        ),
    ] = None,
    style: Annotated[
        PromptStyle | None,
        typer.Option(
            help="Ask for the answer alone, or for steps first.  \\[default: prompt.style]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Ask a model about a clip."""
    from echodistill.params.types import MAX_SNR_DB, MIN_SNR_DB

    if both and model is not None:
        raise UserError("--both asks base and student: leave --model out")
    if snr is not None and not noise:
        raise UserError(f"--snr {snr:g} needs a --noise, e.g. --noise crowd")
    # The condition is also true for NaN.
    if snr is not None and not MIN_SNR_DB <= snr <= MAX_SNR_DB:
        raise UserError(f"--snr {snr:g}: give a level from {MIN_SNR_DB:g} to {MAX_SNR_DB:g} dB")
    from echodistill.models.names import check_named
    from echodistill.models.prompts import validate_question

    options = (
        [part.strip() for part in choices[0].split(",")]
        if choices and len(choices) == 1
        else choices or []
    )
    validate_question(question, options)
    names = ["base", "student"] if both else [model or "student"]
    check_named(names, "--model")
    if noise:
        in_repository()
    from echodistill.inference.asked_clip import read_clip

    waveform = read_clip(clip)
    # This import loads the model libraries, which takes seconds, so it follows the checks.
    from echodistill.inference.single_clip import answer, in_noise

    if noise:
        waveform = in_noise(waveform, noise, snr or 0.0, CORPUS, MIXES)
    for name in names:
        label = f"{name + ':':<9}" if both else ""
        text = answer(
            open_named(name), waveform, question, options, max_new_tokens, prompt_style(style)
        )
        print(f"{label}{text}")


def listen(
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, help="Where the page is served, on loopback; 0 takes a free one."
        ),
    ] = 8490,
) -> None:
    """Serve a page on this machine: record or upload a clip, choose the noise, read both answers.

    The page's address is printed.
    """
    from echodistill.models.names import check_named

    check_named(["student", "base"], "")
    # This import takes a second, so it follows the check.
    from echodistill.serving.app import Backend, serve

    def load() -> Backend:
        from echodistill.data.mixes.noise_settings import read_noise
        from echodistill.inference.single_clip import answer, in_noise
        from echodistill.serving.example import example_of

        # The models are opened first, because they may not exist yet.
        student, base = (
            open_named("student"),
            open_named("base"),
        )
        models, style = {"base": base, "student": student}, prompt_style(None)
        return Backend(
            lambda clip, question, choices: {
                name: answer(llm, clip, question, choices, None, style)
                for name, llm in models.items()
            },
            lambda clip, kind, snr_db: in_noise(clip, kind, snr_db, CORPUS, MIXES),
            read_noise(MIXES).kinds,
            example_of(CORPUS),
            min(llm.family.max_seconds for llm in models.values()),
        )

    serve(load, port, typer.echo)


def prompt_style(given: PromptStyle | None) -> PromptStyle:
    """Return ``given`` or, where it is ``None``, the style of ``params.yaml``; ``direct`` where
    there is no such file.
    """
    from echodistill.params.whole import load_params

    path = Path("params.yaml")
    return given or (load_params(path).prompt.style if path.is_file() else "direct")


def open_named(name: str) -> Any:
    from echodistill.models.checkpoint import open_base, open_model
    from echodistill.models.layout import RUN
    from echodistill.models.loading import load

    if name == "student":
        return open_model(STUDENT, BASE)
    if name == "base":
        return open_base(BASE)
    folder = Path(name)
    return open_model(folder, BASE) if (folder / RUN).is_file() else load(name)


def export_audio(
    out: Annotated[Path, typer.Argument(help="Folder for the wavs.")],
    mix: Annotated[
        list[str] | None,
        typer.Option(help="A mix id, as in data/mixes/mixes.parquet; may be repeated."),
    ] = None,
    condition: Annotated[
        str, typer.Option(help="Or: test mixes of one condition, e.g. crowd@-10.")
    ] = "",
    count: Annotated[int, typer.Option(min=1, help="How many of that condition.")] = 3,
) -> None:
    """Write the clean and the noisy wav of chosen mixes for listening."""
    from echodistill.export import export_mixes

    in_repository()
    written, asked = export_mixes(CORPUS, MIXES, out, mix or [], condition, count)
    for path in written:
        print(path)
    for line in asked:
        print(line, file=sys.stderr)
