"""The corpus section of the repository's parameters with some keys changed, as the sources' readers
take it.
"""

from pathlib import Path

import yaml

from echodistill.params.corpus import CorpusParams

PARAMS = Path(__file__).parents[1] / "params.yaml"


def corpus_params(**changes: object) -> CorpusParams:
    raw = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))["corpus"]
    return CorpusParams.model_validate(raw | changes)
