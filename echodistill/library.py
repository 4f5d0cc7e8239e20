"""Use echodistill as a library, without DVC or any service.

It offers noisy views of your own clips, training by a method, and evaluation with intervals. Every
setting that is not given has the value of ``params.yaml``. The names in ``__all__`` are available
as ``echodistill.NAME``.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from echodistill.audio.mixing import Mix, Rendered
from echodistill.audio.recordings import NoiseLibrary
from echodistill.core.batches import batches
from echodistill.core.environment import device_batch
from echodistill.core.errors import UserError
from echodistill.core.progress import bar
from echodistill.core.records import Answer, Question
from echodistill.data.memory import Example, MemoryCorpus
from echodistill.data.mixes.drawing import Drawer
from echodistill.data.mixes.noise_settings import noise_settings
from echodistill.data.mixes.sources import sources_of
from echodistill.evaluation.base_and_student import compare_systems
from echodistill.evaluation.scores import score_answers
from echodistill.evaluation.units import unit_of
from echodistill.inference.resumable import Item, answer_items
from echodistill.methods.base import Method
from echodistill.models.audio_llm import AudioLLM
from echodistill.models.base import Prompt, prompt_of
from echodistill.models.loading import load as load_model
from echodistill.models.response_limit import corpus_limit
from echodistill.models.text_llm import load_text_llm
from echodistill.params.methods import MethodSettings
from echodistill.params.mixes import MixesParams
from echodistill.params.references import ViewName
from echodistill.params.system_settings import changed_train, view_fault
from echodistill.params.whole import Params, load_params
from echodistill.teachers.cache import TeacherTargets
from echodistill.teachers.references import generate_targets
from echodistill.teachers.views import VIEWS, View
from echodistill.training.metrics_log import discard_metrics
from echodistill.training.train import train_student
from echodistill.training.training_rows import TrainingRows
from echodistill.training.validation_rows import ValidationRows

__all__ = ["Example", "NoisyData", "answer", "compare", "load_model", "train"]


@cache
def defaults() -> Params:
    """Return the parameters of the ``params.yaml`` that comes with the package."""
    return load_params(Path(__file__).parent / "params" / "params.yaml")


class NoisyData:
    """Examples with the noise that is mixed into them."""

    def __init__(
        self,
        train: Sequence[Example],
        test: Sequence[Example],
        mixes: Mapping[str, object] | None = None,
        seed: int = 1,
        validation: Sequence[Example] = (),
    ) -> None:
        """Store the examples and draw the noise.

        ``mixes`` changes keys of the section ``mixes`` of ``params.yaml``, for example ``{"kinds":
        ["gauss", "wind"], "unseen": ["wind"], "snrs_db": [0, 10]}``. ``validation`` is
        what an accelerator (``train.accelerator``) judges the student on. Raise ``UserError`` for
        an example that cannot be used.
        """
        self.seed = seed
        self.settings = MixesParams.model_validate(
            defaults().mixes.model_dump() | dict(mixes or {})
        )
        self.corpus = MemoryCorpus({"train": train, "validation": validation, "test": test})
        noise = noise_settings(seed, self.settings)
        self._drawer = Drawer(seed, self.settings, sources_of(self.corpus, noise))
        self.noise = NoiseLibrary(self.corpus.waveform, noise.recorded)

    def mixes(self, split: str) -> list[Mix]:
        """Return the recipes of the mixes of ``train``, ``validation`` or ``test``.

        A test clip has one mix for every kind of noise at every SNR, and the clean clip.
        """
        clips = self.corpus.clips_of(split)
        return [mix for clip in clips for mix in self._drawer((clip.clip_id, split))]

    def render(self, mix: Mix) -> Rendered:
        """Return the noisy clip of a mix and the clean one, both (samples,) float32."""
        return self.noise.render(mix, self.corpus.waveform(mix.clip_id))


def train(
    llm: AudioLLM,
    data: NoisyData,
    method: str | Method = "echodistill",
    settings: Mapping[str, object] | None = None,
    view: ViewName | View | None = None,
    folder: Path | None = None,
    text_teacher: Path | None = None,
) -> AudioLLM:
    """Train ``llm`` in place on the training examples of ``data``, and return it.

    ``method`` and ``view`` are names of ``params.yaml``, or objects of your own; without a ``view``
    the teacher has the method's. ``settings`` changes keys of the section ``train``, for example
    ``{"train.steps": 40}``. Checkpoints and ``metrics.jsonl`` are kept in ``folder``, from which a
    call after a kill resumes. With ``{"train.weights": "lora"}`` the returned model has its
    adapter. ``text_teacher`` is the folder of a text model with the tokens of ``llm``, for the
    methods that have one. Raise ``UserError`` where the examples lack what the method or the view
    needs.
    """
    named = {"train.method": method} if isinstance(method, str) else {}
    chosen = changed_train(defaults().train, {**named, **(settings or {})})
    own = None if isinstance(method, str) else method
    seen = _view(view, own.settings if own else chosen.method_settings, data)
    limit = _limit(llm, data)
    targets = _targets(llm, data, seen, limit)
    rows = TrainingRows(
        data.corpus, seen, data.mixes("train"), data.noise, targets, llm.tokenizer.pad_token_id
    )
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        trained = train_student(
            llm,
            rows,
            chosen,
            limit,
            data.seed,
            place,
            discard_metrics,
            method=own,
            validation=ValidationRows(data.corpus, data.mixes("validation"), data.noise),
            text_teacher=None if text_teacher is None else load_text_llm(text_teacher, llm),
        )
    return replace(llm, model=trained.model)


def _view(given: ViewName | View | None, settings: MethodSettings, data: NoisyData) -> View:
    """Return the teacher's view. Raise ``UserError`` for the name of one that a method cannot
    have.
    """
    name = given or settings.view
    if not isinstance(name, str):
        return name
    if fault := view_fault(type(settings), name):
        raise UserError(f"view: {fault}")
    return VIEWS[name](data.corpus, data.seed)


def _targets(llm: AudioLLM, data: NoisyData, view: View, limit: int) -> dict[str, TeacherTargets]:
    """Return the answers of ``llm`` to each training question under ``view``, by question id."""
    questions, settings = data.corpus.questions_of("train"), defaults().references
    targets: dict[str, TeacherTargets] = {}
    with bar(len(questions), "references", "questions") as shown:
        for part in batches(questions, device_batch()):
            prompts = [view.prompt(question) for question in part]
            made = generate_targets(
                llm, prompts, limit, settings.top_k, settings.full_vocabulary_up_to
            )
            names = [question.question_id for question in part]
            targets |= dict(zip(names, made, strict=True))
            shown.update(len(part))
    return targets


def answer(llm: AudioLLM, data: NoisyData) -> list[Answer]:
    """Return the greedy answers of ``llm`` to every test question under every mix of its clip."""
    questions = {each.clip_id: each for each in data.corpus.questions_of("test")}
    items = [
        Item(
            mix.mix_id,
            questions[mix.clip_id].question_id,
            mix.noise_kind,
            mix.snr_db,
            partial(_prompt, data, mix, questions[mix.clip_id]),
        )
        for mix in data.mixes("test")
    ]
    with tempfile.TemporaryDirectory() as temporary, bar(len(items), "answer", "answers") as shown:
        journal = Path(temporary) / "answers.jsonl"
        journal.touch()
        return answer_items(llm, items, journal, device_batch(), _limit(llm, data), shown.update)


def compare(
    base: Sequence[Answer], student: Sequence[Answer], data: NoisyData
) -> dict[str, object]:
    """Return accuracies of two models on the same test mixes, and their paired differences with
    intervals.

    The result has the form of the pipeline's ``reports/metrics.json``. Differences are resampled by
    group, because the noises of one clip, and the clips of one speaker, are not independent.
    """
    units = unit_of(data.corpus.clips.values())
    of_base, of_student = (
        score_answers(answers, base, data.corpus.questions, units) for answers in (base, student)
    )
    settings = defaults().evaluate
    # Where every SNR is above the headline's, the headline is the lowest SNR that there is.
    highest = max(settings.headline_max_snr_db, min(data.settings.snrs_db))
    settings = settings.model_copy(update={"headline_max_snr_db": highest})
    return compare_systems(
        "student", of_base, of_student, settings, data.settings.unseen, data.seed
    )


def _limit(llm: AudioLLM, data: NoisyData) -> int:
    return corpus_limit(llm.tokenizer, data.corpus.questions.values(), None)


def _prompt(data: NoisyData, mix: Mix, question: Question) -> Prompt:
    return prompt_of(question, data.render(mix).noisy)
