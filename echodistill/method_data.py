"""Check before any stage runs that a source has what the methods need of it.

The rows of a source are read as the stage ``corpus`` reads them, and no recording is decoded.
"""

from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from echodistill.core.errors import UserError
from echodistill.data import benchmarks, folder
from echodistill.data.sources import SourceClip, SourceClips
from echodistill.params.corpus import CorpusParams
from echodistill.params.methods import METHODS
from echodistill.params.whole import Params
from echodistill.systems import training_of

COMPLETE = ("builtin", "fsdd")
"""Sources that make their clips and questions with all fields."""
WORDS = "transcript"
"""Name of the view, and of the field that it reads."""


def check_method_data(params: Params, root: Path, systems: Sequence[str] = ()) -> None:
    """Raise ``UserError`` where a training clip of the source lacks a field that its method or
    view needs.

    ``root`` is the repository's root. Without ``systems``, which are the names of those that are
    compared, the method is the one that ``train`` names. A manifest that cannot be read is left to
    the stage ``corpus``, which has its own message.
    """
    corpus = params.corpus
    if corpus.is_test_only or corpus.source in COMPLETE:
        return
    needed = dict(_needed(params, systems))
    cure = "choose another train.method or references.view"
    if systems:
        cure = "leave it out of compare.train and compare.controls"
    try:
        with redirect_stdout(StringIO()):  # The stage prints its remarks itself.
            found = _read(corpus, root, params.seed)
    except UserError:
        return
    clips = [clip for clip in found.clips if found.splits[clip.group] == "train"]
    for field, why in needed.items():
        lacking = [clip for clip in clips if _lacks(clip, field)]
        if lacking:
            names = "`transcript` or `caption`" if field == WORDS else f"`{field}`"
            raise UserError(
                f"{root / corpus.path / corpus.manifest}: {why} needs the column {names} of every"
                f" training clip, and {len(lacking)} of {len(clips)} have none,"
                f" {lacking[0].clip_id} for one: fill it in, or {cure} (`echodistill methods` lists"
                " what each needs)"
            )


def _needed(params: Params, systems: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each needed field with what needs it, the most specific last."""
    trainings = [training_of(name, params) for name in systems]
    pairs = [(one.train.method, one.view) for one in trainings] or [
        (params.train.method, params.references.view)
    ]
    for _, view in pairs:
        if view == WORDS:
            yield WORDS, f"references.view: {view}"
    for method, _ in pairs:
        for field in sorted(METHODS[method].needs):
            yield field, f"the method {method}"


def _read(corpus: CorpusParams, root: Path, seed: int) -> SourceClips:
    part: dict[str, object] = {"path": str(root / corpus.path)}
    if corpus.test.source is not None:  # All of the source is then for training and validation.
        part["test_share"] = 0.0
    settings = corpus.model_copy(update=part)
    return (folder if corpus.source == "folder" else benchmarks).read(settings, seed)


def _lacks(clip: SourceClip, field: str) -> bool:
    """Return whether a clip or one of its questions has an empty ``field``; a field that is known
    only when the clip is stored is not lacking.
    """
    if field == WORDS:
        return not (clip.transcript or clip.caption)
    if hasattr(clip, field):
        return not getattr(clip, field)
    return any(not getattr(question, field, True) for question in clip.questions)
