"""Ask a model about one clip, either unchanged or mixed with noise of a kind and level."""

from collections.abc import Sequence
from pathlib import Path

from echodistill.audio.levels import Waveform, power
from echodistill.audio.mixing import draw
from echodistill.core.errors import UserError
from echodistill.core.prompt_style import PromptStyle
from echodistill.data.mixes.drawing import NONE
from echodistill.data.mixes.noise_settings import open_noise, read_noise
from echodistill.data.mixes.sources import sources_of
from echodistill.data.store import Corpus
from echodistill.evaluation.choices import parse_choice
from echodistill.models.audio_llm import AudioLLM, decode, encode
from echodistill.models.base import Prompt
from echodistill.models.control_tokens import check_texts
from echodistill.models.generation import generate
from echodistill.models.response_limit import asked_limit

EMPTY = "(the model gave an empty answer)"


def in_noise(
    waveform: Waveform, kind: str, snr_db: float, corpus_folder: Path, mixes_folder: Path
) -> Waveform:
    """Return the clip mixed with noise as in the test in ``mixes_folder``; the noise is the same
    each time.

    Raise ``UserError`` for a kind that the mixes were not drawn with, and for a silent clip.
    """
    settings = read_noise(mixes_folder)
    if kind not in settings.kinds:
        raise UserError(
            f"there is no noise {kind!r}: {mixes_folder} was drawn with {', '.join(settings.kinds)}"
            " (mixes.kinds)"
        )
    if power(waveform) == 0.0:
        raise UserError("the clip is silent: there is no level to put noise against")
    corpus = Corpus(corpus_folder)
    given = sources_of(corpus, settings).get((kind, "test"), NONE)
    mix = draw(settings.seed, "asked", "test", kind, snr_db, 0, given.names, given.picks)
    return open_noise(mixes_folder, corpus).render(mix, waveform).noisy


def answer(
    llm: AudioLLM,
    waveform: Waveform,
    question: str,
    choices: Sequence[str],
    max_new_tokens: int | None,
    style: PromptStyle = "direct",
) -> str:
    """Return the choice that the model names, or its whole response where there are no choices.

    ``EMPTY`` stands for an empty response. The length limit is derived unless ``max_new_tokens``
    gives it. Raise ``UserError`` if that limit is too short for a choice.
    """
    check_texts(
        llm.tokenizer, [("the question", question), *(("a choice", choice) for choice in choices)]
    )
    limit = asked_limit(llm.tokenizer, choices, max_new_tokens, "--max-new-tokens", style)
    response = decode(
        llm, generate(llm, encode(llm, [Prompt(waveform, question, choices, style)]), limit)[0]
    )
    if not response.strip():
        return EMPTY
    if not choices:
        return response
    chosen = parse_choice(response, choices)
    return choices[chosen] if chosen is not None else f"(names no choice) {response}"
