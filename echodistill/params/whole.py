"""Read the whole of ``params.yaml`` as frozen, validated values. Each unknown key or bad value
gives one clear error.

The parameters determine *what* is computed (learning rates, global batch sizes), never *how*
(device batch, precision), so that nothing is computed again on another GPU.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError, model_validator

from echodistill.core.errors import UserError
from echodistill.core.yaml12 import load_yaml
from echodistill.params.base import BaseParams
from echodistill.params.compare import CompareParams, changes_of
from echodistill.params.corpus import CorpusParams
from echodistill.params.evaluate import EvaluateParams
from echodistill.params.faults import BadKey, describe, describe_overridden, keys_of
from echodistill.params.gates import GatesParams
from echodistill.params.generation import GenerationParams
from echodistill.params.methods import METHODS
from echodistill.params.mixes import MixesParams
from echodistill.params.promote import PromoteParams
from echodistill.params.prompt import PromptParams
from echodistill.params.references import ReferencesParams
from echodistill.params.system_settings import VIEW, changed_train, view_fault, view_of
from echodistill.params.train import TrainParams
from echodistill.params.types import Section, Seed
from echodistill.params.workers import WorkersParams


class Params(Section):
    """All of ``params.yaml``."""

    seed: Seed
    """Seed of all random streams."""
    workers: WorkersParams
    corpus: CorpusParams
    prompt: PromptParams
    mixes: MixesParams
    base: BaseParams
    generation: GenerationParams
    references: ReferencesParams
    train: TrainParams
    evaluate: EvaluateParams
    compare: CompareParams
    promote: PromoteParams
    gates: GatesParams

    @model_validator(mode="after")
    def _headline(self) -> "Params":
        if self.evaluate.headline_max_snr_db < min(self.mixes.snrs_db):
            raise BadKey(
                "evaluate.headline_max_snr_db",
                "is below every one of mixes.snrs_db: there is nothing to average",
            )
        if self.evaluate.headline_max_snr_db < min(self.mixes.decision_snrs_db):
            raise BadKey(
                "mixes.decision_snrs_db",
                "are all above evaluate.headline_max_snr_db: there is nothing to decide on",
            )
        return self

    @model_validator(mode="after")
    def _view_suits_method(self) -> "Params":
        if fault := view_fault(METHODS[self.train.method], self.references.view):
            raise BadKey(VIEW, fault)
        return self

    @model_validator(mode="after")
    def _systems(self) -> "Params":
        for system in self.compare.systems:
            try:
                changed_train(self.train, system.set)
                view_of(system.set)
            except ValueError as error:
                raise BadKey("compare.systems", f"{system.name}: {error}") from error
        return self

    @model_validator(mode="after")
    def _text_teacher(self) -> "Params":
        compared = (changes_of(name, self.compare.systems) for name in self.compare.trained)
        named = {str(changes.get("train.method")) for changes in compared}
        for name in sorted(named & METHODS.keys() | {self.train.method}):
            if METHODS[name].text_teacher and self.base.text_teacher is None:
                raise BadKey(
                    "base.text_teacher",
                    f"the method {name} needs a textual teacher: set it to nano for the base nano,"
                    " or to the folder of a text model",
                )
        return self

    @model_validator(mode="after")
    def _nano_knows_transcripts(self) -> "Params":
        controls = (changes_of(name, self.compare.systems) for name in self.compare.controls)
        views = {self.references.view, *map(view_of, controls)}
        nano = self.base.nano if self.base.model == "nano" else None
        if nano and "transcript" in views and nano.transcript_share == 0:
            raise BadKey(
                "base.nano.transcript_share",
                "nano is not trained on transcripts, which the view transcript gives it: set it to"
                " 0.25",
            )
        return self


def load_params(path: Path) -> Params:
    """Read and validate ``params.yaml``. Raise ``UserError`` naming each bad key."""
    try:
        raw = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): run in the repository's root"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    return validate_params(raw, str(path))


def validate_params(raw: Any, name: str, overrides: Sequence[str] = ()) -> Params:
    """Validate a parsed ``params.yaml``. Raise ``UserError`` with one part for each bad key.

    ``overrides`` are those that valid parameters of the file ``name`` were changed with: then each
    fault is due to them.
    """
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        # Pydantic also reports a list with one bad item as too short, as if it were empty.
        faults = [
            fault for fault in error.errors() if fault["type"] != "too_short" or not fault["input"]
        ] or error.errors()
        known = list(keys_of(Params))
        if overrides:
            raise UserError(describe_overridden(faults, known, overrides, name)) from error
        raise UserError(f"{name}: {describe(faults, known)}") from error
