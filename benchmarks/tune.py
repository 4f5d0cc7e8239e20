"""Choose a method's settings on the validation split; the test split is never looked at.

``python -m benchmarks.tune METHOD train.steps=60 mixes.train_clean_share=0.4 ...``: trains once with these overrides on the corpus,
base and references of the last run and prints accuracy on the validation mixes, clean and at SNR up to 0 dB, before and after.
"""

import sys
import tempfile
import time
from pathlib import Path

from echodistill.audio.mixing import Mix
from echodistill.audio.recordings import NoiseLibrary
from echodistill.batches import batches
from echodistill.datasets.store import Corpus
from echodistill.evaluation.choices import parse_choice
from echodistill.mixes.drawing import Drawer
from echodistill.mixes.sources import sources_of
from echodistill.models.audio_llm import AudioLLM, Prompt, decode, encode, generate
from echodistill.models.checkpoint import open_base
from echodistill.models.response_limit import corpus_limit
from echodistill.overrides import apply_overrides
from echodistill.params import validate_params
from echodistill.records import Question, Reference, read_rows
from echodistill.teacher.hearing import Hearing
from echodistill.teacher.references import load_views
from echodistill.training.rollouts import RolloutSource
from echodistill.training.train import train_student
from echodistill.yaml12 import load_yaml

BATCH = 128


def accuracy(llm: AudioLLM, corpus: Corpus, mixes: list[Mix], noise: NoiseLibrary, max_new_tokens: int) -> float:
    """Share of right answers to the questions about the mixes' clips."""
    of_clip: dict[str, Question] = {question.clip_id: question for question in corpus.questions.values()}
    right = 0
    for part in batches(mixes, BATCH):
        asked = [of_clip[mix.clip_id] for mix in part]
        waveforms = [noise.render(mix, corpus.waveform(mix.clip_id)).noisy for mix in part]
        prompts = [Prompt(wave, row.question, row.choices) for wave, row in zip(waveforms, asked, strict=True)]
        responses = generate(llm, encode(llm, prompts), max_new_tokens)
        right += sum(parse_choice(decode(llm, r), row.choices) == row.answer_index for r, row in zip(responses, asked, strict=True))
    return right / len(mixes)


def main() -> None:
    method, *overrides = sys.argv[1:]
    if stray := [one for one in overrides if not one.startswith(("train.", "mixes.train_"))]:
        sys.exit(f"error: {stray[0]} has no effect on the artifacts of the last run; give train.* or mixes.train_*")
    raw = load_yaml(Path("params.yaml").read_text(encoding="utf-8"))
    params = validate_params(apply_overrides(raw, [f"train.method={method}", *overrides]), "params.yaml")
    corpus, llm = Corpus(Path("data/corpus")), open_base(Path("models/base"))
    heard = [mix for mix in read_rows(Path("data/mixes/mixes.parquet"), Mix) if mix.split == "validation"]
    if params.mixes.noise != "procedural" or not heard:
        sys.exit("error: tuning needs procedural noise and a validation split")
    clean, noisy = [mix for mix in heard if mix.snr_db is None], [mix for mix in heard if mix.snr_db is not None and mix.snr_db <= 0]
    by_key = load_views(Path("data/references/distributions.safetensors"))
    references = read_rows(Path("data/references/references.parquet"), Reference)
    views = {row.question_id: by_key[row.key] for row in references}
    noise = NoiseLibrary(corpus.waveform)
    drawer = Drawer(params.seed, params.mixes, sources_of(corpus, params.mixes))
    training = [mix for clip in corpus.clips_of("train") for mix in drawer((clip.clip_id, "train"))]
    source = RolloutSource(Hearing(corpus, "matched", params.seed), training, noise, views, llm.tokenizer.pad_token_id)
    limit = corpus_limit(llm.tokenizer, corpus.questions.values(), params.generation.max_new_tokens)
    before = [accuracy(llm, corpus, mixes, noise, limit) for mixes in (clean, noisy)]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        train_student(llm, source, params.train, limit, params.seed, Path(folder), lambda _step, _metrics: None)
    seconds = time.monotonic() - started
    after = [accuracy(llm, corpus, mixes, noise, limit) for mixes in (clean, noisy)]
    print(
        f"TUNED {method} {' '.join(overrides)}: clean {before[0]:.3f} -> {after[0]:.3f}, "
        f"SNR <= 0 dB {before[1]:.3f} -> {after[1]:.3f}, trained in {seconds:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
