"""Answer many items greedily and record each batch at once, so that a killed run can resume."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from echodistill.core.batches import batches
from echodistill.core.records import Answer
from echodistill.models.audio_llm import AudioLLM, decode
from echodistill.models.base import Prompt
from echodistill.models.responses import Response, respond
from echodistill.workers import ordered_map


@dataclass(frozen=True)
class Item:
    """One question under one mix; ``prompt`` renders the clip when called."""

    mix_id: str
    question_id: str
    noise_kind: str
    snr_db: float | None
    prompt: Callable[[], Prompt]

    @property
    def key(self) -> tuple[str, str]:
        """Return the question id and the mix id, which identify the answer to this item."""
        return self.question_id, self.mix_id


def kept_answers(journal: Path) -> dict[tuple[str, str], Answer]:
    """Return the answers that a former run recorded, by (question id, mix id).

    A line that is damaged, or was cut when the run was killed, is left out.
    """
    kept = {}
    for line in journal.read_bytes().split(b"\n") if journal.exists() else []:
        digest, _, text = line.partition(b" ")
        if digest != _digest(text):
            continue
        fields = json.loads(text)
        lists = {name: tuple(fields[name]) for name in ("choice_log_probs", "choice_tokens")}
        answer = Answer(**fields | lists)
        kept[answer.question_id, answer.mix_id] = answer
    return kept


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()


def answer_items(
    llm: AudioLLM,
    items: Sequence[Item],
    journal: Path,
    batch: int,
    max_new_tokens: int,
    progress: Callable[[int], object],
) -> list[Answer]:
    """Return the answers to all items, in the order of the items. Each batch is appended to
    ``journal`` at once.

    The items are always divided into the same batches, and a batch with a missing answer is
    answered again as a whole, because the last digits of a log-probability depend on the batch.
    """
    kept = kept_answers(journal)
    parts = list(batches(items, batch))
    open_parts = [part for part in parts if any(item.key not in kept for item in part)]
    progress(len(items) - sum(map(len, open_parts)))
    with journal.open("ab") as file:
        if journal.stat().st_size and not journal.read_bytes().endswith(b"\n"):
            file.write(b"\n")  # End a line that was cut when a run was killed.
        # The clips of the next batches are rendered while the model answers.
        rendered = ordered_map(lambda part: [item.prompt() for item in part], open_parts)
        for part, prompts in zip(open_parts, rendered, strict=True):
            for item, response in zip(part, respond(llm, prompts, max_new_tokens), strict=True):
                answer = _answer(llm, item, response)
                kept[item.key] = answer
                text = json.dumps(asdict(answer)).encode()
                file.write(_digest(text) + b" " + text + b"\n")
            file.flush()
            progress(len(part))
    return [kept[item.key] for item in items]


def _answer(llm: AudioLLM, item: Item, response: Response) -> Answer:
    return Answer(
        mix_id=item.mix_id,
        question_id=item.question_id,
        noise_kind=item.noise_kind,
        snr_db=item.snr_db,
        response=decode(llm, response.token_ids),
        truncated=response.truncated,
        response_tokens=len(response.token_ids),
        choice_log_probs=response.choice_log_probs,
        choice_tokens=response.choice_tokens,
    )
