"""Plan a clip of the built-in source: what is spoken, and the question about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from echodistill.core.records import PRETRAIN
from echodistill.core.seeds import rng
from echodistill.data.sources import SourceQuestion
from echodistill.data.spoken_words import ask, draw_words
from echodistill.data.tasks import acoustic, reason
from echodistill.data.tasks.acoustic import Utterance
from echodistill.params.corpus import CorpusParams, ReasonWords


@dataclass(frozen=True)
class Plan:
    """What a clip has, before it is spoken."""

    text: str
    """The spoken words."""
    question: SourceQuestion
    utterances: tuple[Utterance, ...] = ()
    """The words one by one with a voice each, where they are spoken apart."""
    background: str | None = None
    caption: str | None = None


def plan(
    params: CorpusParams,
    seed: int,
    clip_id: str,
    split: str,
    voice: str,
    other_voices: Sequence[str],
    vocabulary: Sequence[str],
) -> Plan:
    """Return the plan of a clip that ``voice`` speaks. ``other_voices`` are those of the same split
    that are other speakers.
    """
    task = _task(params, seed, clip_id)
    name = f"{clip_id}-q"
    if task == "recognise":
        stream = rng(seed, "builtin", clip_id)
        words = draw_words(stream, vocabulary)
        asked = ask(stream, clip_id, words, vocabulary)
        return Plan(" ".join(words), asked)
    stream = rng(seed, "builtin", clip_id, task)
    if task == "acoustic":
        words = draw_words(stream, vocabulary)
        sound = acoustic.draw(stream, words, voice, other_voices, clip_id)
        asked = SourceQuestion(
            name, sound.question, sound.choices, sound.answer, task, sound.solution
        )
        return Plan(" ".join(words), asked, sound.utterances, sound.background, sound.caption)
    low, high = _range(params.reason_words, split)
    found = reason.draw(
        stream, int(stream.integers(low, high + 1)), task == "reason_choices", clip_id
    )
    asked = SourceQuestion(name, found.question, found.choices, found.answer, task, found.solution)
    return Plan(" ".join(found.words), asked)


def _task(params: CorpusParams, seed: int, clip_id: str) -> str:
    """Return the task family of a clip, drawn by the weights of ``corpus.tasks``."""
    weights = {name: weight for name, weight in params.tasks if weight}
    total = sum(weights.values())
    shares = [weight / total for weight in weights.values()]
    return str(rng(seed, "task", clip_id).choice(list(weights), p=shares))


def _range(words: ReasonWords, split: str) -> tuple[int, int]:
    return {PRETRAIN: words.pretrain, "train": words.train}.get(split, words.evaluation)
