"""Provide noisy questions of the validation split, on which a training may judge its student."""

from collections.abc import Sequence
from dataclasses import dataclass

from echodistill.audio.mixing import Mix
from echodistill.audio.recordings import NoiseLibrary
from echodistill.core.records import Question
from echodistill.core.seeds import rng
from echodistill.data.store import Corpus
from echodistill.models.base import Prompt, prompt_of

SPLIT = "validation"


@dataclass(frozen=True)
class ValidationItem:
    """A question about a clip with a mix of that clip."""

    mix: Mix
    question: Question


class ValidationRows:
    """The noisy mixes of the validation split, rendered on request."""

    def __init__(self, corpus: Corpus, mixes: Sequence[Mix], noise: NoiseLibrary) -> None:
        """Store the sources of the items. Of ``mixes``, those of other splits and the clean ones
        are left out.
        """
        self._corpus, self._noise = corpus, noise
        self._mixes: dict[str, list[Mix]] = {}
        for mix in mixes:
            if mix.split == SPLIT and mix.snr_db is not None:
                self._mixes.setdefault(mix.clip_id, []).append(mix)
        self._questions = [
            question for question in corpus.questions_of(SPLIT) if question.clip_id in self._mixes
        ]

    def chosen(self, count: int, seed: int) -> list[ValidationItem]:
        """Return ``count`` items, or all where there are fewer.

        The choice depends on ``seed`` and the split alone, and a larger choice contains a smaller
        one. Each question is taken once before any is taken with a second mix, because the mixes of
        one clip are not independent evidence.
        """
        orders = []
        for question in self._questions:
            stream = rng(seed, "validation items", question.question_id)
            mixes = self._mixes[question.clip_id]
            order = [mixes[number] for number in stream.permutation(len(mixes))]
            orders.append([ValidationItem(mix, question) for mix in order])
        shuffled = [
            orders[number] for number in rng(seed, "validation items").permutation(len(orders))
        ]
        rounds = range(max(map(len, orders), default=0))
        items = [order[turn] for turn in rounds for order in shuffled if turn < len(order)]
        return items[:count]

    def prompt(self, item: ValidationItem) -> Prompt:
        """Return the prompt of an item, with the noisy clip."""
        rendered = self._noise.render(item.mix, self._corpus.waveform(item.mix.clip_id))
        return prompt_of(item.question, rendered.noisy)
