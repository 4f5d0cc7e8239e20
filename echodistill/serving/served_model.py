"""The model as MLflow serves it: code in a file, weights as artifacts, nothing pickled.

Input columns: ``audio`` (a file's path, or base64 of an audio file's bytes), ``question``,
``choices`` (a list, JSON text of one, or null). Output columns: ``answer`` (the text of the choice
that was named or, without choices, of the answer that was given; null where there is none) and
``response`` (the model's whole response). The parameter ``max_new_tokens`` is the length of the
longest response; without it each row has the limit that its own choices need. The parameter
``style`` (``direct`` or ``chain``) is how the prompt asks; without it as in the model's training.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from echodistill.audio.files import decode_bytes, decode_file
from echodistill.audio.levels import Waveform
from echodistill.core.errors import UserError
from echodistill.core.prompt_style import PromptStyle
from echodistill.evaluation.choices import parse_choice
from echodistill.evaluation.open_answers import final_answer
from echodistill.models.audio_llm import decode, encode
from echodistill.models.base import Prompt
from echodistill.models.checkpoint import open_model
from echodistill.models.generation import generate
from echodistill.models.layout import PROMPT_STYLE, read_run
from echodistill.models.prompts import validate_question
from echodistill.models.response_limit import asked_limit, check_context

BATCH = 16
# Duration in seconds above which audio is not decoded. The model's own window is shorter and is
# checked when encoding.
MAX_DURATION_S = 600.0
MAX_PATH = 4096  # Number of characters; longer text can only be base64.


class ServedModel(PythonModel):
    """A student with MLflow's pyfunc interface.

    Its artifacts are ``student``, and ``base`` where the student is an adapter.
    """

    def load_context(self, context: Any) -> None:
        base = context.artifacts.get("base")
        student = Path(context.artifacts["student"])
        self._llm = open_model(student, Path(base) if base else None)
        self._style = read_run(student).get(PROMPT_STYLE, "direct")

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return one answer for each row.

        Raise ``MlflowException`` (a server answers with status 400) that names every row that
        cannot be used.
        """
        asked = params or {}
        given, name = asked.get("max_new_tokens"), "max_new_tokens"
        try:
            style = _style(asked.get("style") or self._style)
            prompts = _prompts(model_input, style)
            limits = [
                _named(row, asked_limit, self._llm.tokenizer, prompt.choices, given, name, style)
                for row, prompt in enumerate(prompts)
            ]
            responses = [
                text
                for start in range(0, len(prompts), BATCH)
                for text in self._respond(prompts, start, limits)
            ]
        except UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        answers = [
            _answer(text, prompt.choices) for text, prompt in zip(responses, prompts, strict=True)
        ]
        return pd.DataFrame({"answer": answers, "response": responses}, dtype=object)

    def _respond(self, prompts: Sequence[Prompt], start: int, limits: Sequence[int]) -> list[str]:
        part, allowed = prompts[start : start + BATCH], limits[start : start + BATCH]
        try:
            responses = generate(self._llm, encode(self._llm, part), max(allowed))
        except UserError:
            # The error does not name its row, so each row is checked alone.
            for row, prompt in enumerate(part, start):
                _named(row, self._check, prompt, max(allowed))
            raise
        # Each row is cut at its own limit, so that its answer does not depend on the other rows.
        return [
            decode(self._llm, tokens[:limit])
            for tokens, limit in zip(responses, allowed, strict=True)
        ]

    def _check(self, prompt: Prompt, limit: int) -> None:
        """Raise ``UserError`` if the model cannot take ``prompt`` with a response of ``limit``
        tokens.
        """
        check_context(self._llm.model, encode(self._llm, [prompt]).input_ids.shape[1], limit)


def _named(row: int, function: Any, *arguments: Any) -> Any:
    """Call ``function`` and return its result; add the row's number to its ``UserError``."""
    try:
        return function(*arguments)
    except UserError as error:
        raise UserError(f"row {row}: {error}") from error


def _style(given: Any) -> PromptStyle:
    """Return a prompt's style. Raise ``UserError`` where there is none of this name."""
    for style in get_args(PromptStyle):
        if given == style:
            return cast(PromptStyle, style)
    raise UserError(f"style: {given!r} is none of {', '.join(get_args(PromptStyle))}")


def _prompts(table: pd.DataFrame, style: PromptStyle) -> list[Prompt]:
    prompts, faults = [], []
    lists = table["choices"] if "choices" in table else [None] * len(table)
    for row, (audio, question, choices) in enumerate(
        zip(table["audio"], table["question"], lists, strict=True)
    ):
        try:
            waveform, offered = _named(row, _waveform, audio), _named(row, _choices, choices)
            prompts.append(Prompt(waveform, str(question), offered, style))
            _named(row, validate_question, prompts[-1].question, prompts[-1].choices)
        except UserError as error:
            faults.append(str(error))
    if faults:
        raise UserError("; ".join(faults))
    return prompts


def _waveform(audio: Any) -> Waveform:
    """Return the waveform of a file's path or of base64 text."""
    if not isinstance(audio, str) or not audio:
        raise UserError("audio is empty: give a file's path, or base64 of an audio file's bytes")
    if len(audio) <= MAX_PATH and Path(audio).is_file():
        return decode_file(Path(audio), MAX_DURATION_S).waveform
    try:
        content = base64.b64decode(audio.rpartition("base64,")[2], validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(
            f"audio {audio[:60]!r} is neither a file here nor base64 of an audio file"
        ) from error
    return decode_bytes(content, f"audio {audio[:20]!r}", MAX_DURATION_S).waveform


def _choices(value: Any) -> tuple[str, ...]:
    """Return the choices of a row; empty where the value is null."""
    if value is None or (isinstance(value, float) and pd.isna(value)) or value == "":
        return ()
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise UserError(f"choices {value[:60]!r} is no JSON: give a list of texts") from error
        if value is None:
            return ()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise UserError(f"choices must be a list of texts, not {type(value).__name__}")
    return tuple(str(choice) for choice in value)


def _answer(response: str, choices: Sequence[str]) -> str | None:
    if not choices:
        return final_answer(response) or None
    index = parse_choice(response, choices)
    return None if index is None else choices[index]


set_model(ServedModel())
