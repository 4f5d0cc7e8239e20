"""Compare two texts by the similarity of their sentence embeddings."""

from collections.abc import Sequence

from echodistill.models.embeddings import SentenceEncoder
from echodistill.rewards.judge import Case


class EmbeddingComparison:
    """A ``judge.Comparison``: two texts mean the same from a cosine similarity on."""

    def __init__(self, model: str, similarity: float) -> None:
        self._encoder, self._similarity = SentenceEncoder(model), similarity

    def __call__(self, cases: Sequence[Case]) -> list[bool]:
        texts = sorted({text for case in cases for text in (case.answer, case.reference)})
        vectors = dict(zip(texts, self._encoder(texts), strict=True))
        return [
            float(vectors[case.answer] @ vectors[case.reference]) >= self._similarity
            for case in cases
        ]
