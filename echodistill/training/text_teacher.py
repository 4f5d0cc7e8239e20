"""Make the text teacher within the folder of the base: train one for ``nano``, or record a text
model of the user by a pointer.
"""

import json
from pathlib import Path

from echodistill.core.counted import counted
from echodistill.core.errors import UserError
from echodistill.data.store import Corpus
from echodistill.evaluating import NANO
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.faults import number_fault
from echodistill.models.layout import POINTER, file_hashes
from echodistill.models.nano_text import build_text_teacher
from echodistill.models.text_llm import FOLDER, check_folder, load_text_llm
from echodistill.params.base import BaseParams, TextNanoParams
from echodistill.training.bar import ProgressBar
from echodistill.training.checkpoints import latest_complete, remove_unusable, step_of
from echodistill.training.metrics_file import METRICS, trim_after
from echodistill.training.metrics_log import MetricsLog, discard_metrics
from echodistill.training.pretrain_text import pretrain_text, text_accuracy, transcribed_questions
from echodistill.training.run_folder import fingerprint, run_folder

TEXT_FACTS = "text_teacher.json"
"""Name of the file with the facts about a text teacher."""


def check_text_teacher(named: str | None, corpus: Corpus) -> None:
    """Raise ``UserError`` where the text teacher ``base.text_teacher`` cannot be made, before any
    work is done.
    """
    if named == NANO:
        if not transcribed_questions(corpus, corpus.pretraining_split):
            raise UserError(
                "base.text_teacher: nano learns from transcripts, and no training clip has one:"
                " fill in `transcript`, or give the folder of a text model"
            )
    elif named is not None:
        check_folder(Path(named))


def make_text_teacher(
    out: Path, settings: BaseParams, seed: int, llm: AudioLLM, corpus: Corpus, limit: int
) -> Path | None:
    """Write the text teacher of the base ``llm`` to ``out/text-teacher``, if ``base.text_teacher``
    asks for one.

    Answers have at most ``limit`` tokens. Return the folder of checkpoints that a training left.
    Raise ``UserError`` where a model that the user names does not fit the base.
    """
    named = settings.text_teacher
    if named is None:
        return None
    target = out / FOLDER
    target.mkdir()
    folder = None
    if named == NANO:
        nano = settings.text_nano
        teacher = build_text_teacher(llm, nano.width, nano.layers, seed)
        folder = _checkpoints(nano, seed, corpus.folder)
        log = folder / METRICS
        remove_unusable(folder)
        resume = latest_complete(folder)
        trim_after(log, step_of(resume) if resume else 0)
        callbacks = [MetricsLog(log, discard_metrics), ProgressBar("text teacher")]
        pretrain_text(teacher, corpus, nano, seed, folder, lambda: callbacks)
        if number_fault(dict(teacher.model.named_parameters())):
            raise UserError(
                "the text teacher's training ended with weights that are no numbers: lower"
                " base.text_nano.learning_rate"
            )
        teacher.save(target)
    else:
        teacher = load_text_llm(Path(named), llm)
        pointer = {"model": named, "files": file_hashes(Path(named))}
        (target / POINTER).write_text(json.dumps(pointer, indent=1) + "\n", encoding="utf-8")
    right, asked = text_accuracy(teacher, corpus, limit)
    facts = {
        "model": named,
        "parameters": sum(each.numel() for each in teacher.model.parameters()),
        "layers": teacher.model.config.num_hidden_layers,
        "width": teacher.model.config.hidden_size,
        "right": right,
        "questions": asked,
    }
    (target / TEXT_FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(
        f"text teacher: {facts['parameters']:,} parameters; {right} of"
        f" {counted(asked, 'question')} about transcripts of validation clips right"
    )
    return folder


def _checkpoints(settings: TextNanoParams, seed: int, corpus_folder: Path) -> Path:
    """Return the folder of the training's checkpoints, named by what the training depends on."""
    facts = {"text_teacher": settings.model_dump(), "seed": seed}
    return run_folder("text-teacher", fingerprint("base", facts, {"corpus": corpus_folder}))
