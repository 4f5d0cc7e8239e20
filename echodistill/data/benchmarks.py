"""Read published benchmarks from a folder: their rows are renamed to those of the source
``folder``, which reads them.

``corpus.manifest`` is a published file below ``corpus.path``, or a pattern for several
(``*.jsonl``). Rows published for testing all become test rows: nothing is ever trained on them,
unless ``corpus.benchmark_rows`` is ``split``. To train on another source and test on these rows,
make them the source of the test alone (``separate_test_source``).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from echodistill.core.counted import counted
from echodistill.core.errors import UserError
from echodistill.data import folder, manifest, parquet_rows
from echodistill.data.layouts import LAYOUTS, Layout
from echodistill.data.manifest import Fields, RowError, path_below
from echodistill.data.recording_paths import RecordingPaths
from echodistill.data.sources import SourceClips
from echodistill.params.corpus import CorpusParams

MIN_FOUND_SHARE = 0.5
"""A number of folders to leave out is accepted where it finds at least this share of the recordings
that the best number finds.
"""
PlacedRows = Iterable[tuple[str, Fields | RowError]]


def read(params: CorpusParams, seed: int) -> SourceClips:
    """Read the rows of the benchmark that ``corpus.source`` names; recordings are decoded later.

    Bad rows are quarantined with their reason. Raise ``UserError`` when a manifest is missing or
    not of its format, and when no row has an answer.
    """
    benchmark = params.source
    layout = LAYOUTS[benchmark]
    root = Path(params.path)
    published = list(_published(root, params.manifest, benchmark, layout))
    rows = [fields for _, fields in published if not isinstance(fields, RowError)]
    if rows and not any(layout.answer_field in fields for fields in rows):
        raise UserError(
            f"{root / params.manifest}: no row has a field {layout.answer_field!r}, so {benchmark}"
            " cannot be scored here. Take a part whose answers are published (of MMAU: test-mini,"
            " not test)"
        )
    split = params.benchmark_rows == "split"
    for line in _remarks(benchmark, layout, split):
        print(line)
    places = _renamed(published, layout, split)
    if not layout.exact_paths:
        places = _with_recording_paths(places, root)
    if benchmark == "echodistill":
        places = _without_repetitions(places, benchmark)
    return folder.read_rows(places, params, seed, layout.answers)


def _remarks(benchmark: str, layout: Layout, split: bool) -> Iterator[str]:
    if layout.remark:
        yield f"{benchmark}: {layout.remark}"
    if layout.test_only and split:
        yield (
            f"warning: {benchmark} is a test set, and corpus.benchmark_rows: split trains on its"
            " rows: its figures mean little then"
        )
    elif layout.test_only:
        yield (
            f"{benchmark}: all rows are test rows, none is trained on (corpus.benchmark_rows: test)"
        )


def _published(
    root: Path, pattern: str, benchmark: str, layout: Layout
) -> Iterator[tuple[str, Fields | RowError]]:
    """Yield the place and the fields of the rows of all manifests, as published."""
    published = path_below(root, pattern)
    files = sorted(root.glob(pattern)) if "*" in pattern else [published]
    if not files or not all(file.is_file() for file in files):
        names = " or ".join(layout.manifests)
        raise UserError(
            f"{published}: no such file: set corpus.path, and corpus.manifest to the rows of"
            f" {benchmark}: {names}"
        )
    for file in files:
        name = file.relative_to(root).as_posix()
        path_below(root, name)  # A pattern may match files in a linked folder.
        found: PlacedRows = (
            parquet_rows.rows(file) if file.suffix == ".parquet" else manifest.rows(file)
        )
        for place, fields in found:
            yield f"{name}:{place}", fields


def _renamed(
    published: PlacedRows, layout: Layout, split: bool
) -> Iterator[tuple[str, Fields | RowError]]:
    for place, fields in published:
        if isinstance(fields, RowError):
            yield place, fields
            continue
        try:
            row = layout.to_folder(fields, place)
        except RowError as error:
            yield place, error
            continue
        if split:
            row.pop("split", None)
        elif layout.test_only:
            row["split"] = "test"
        yield place, row


def _with_recording_paths(
    places: PlacedRows, root: Path
) -> Iterator[tuple[str, Fields | RowError]]:
    """Yield the rows with the path of their recording below ``root``: the path as written, or
    without its first folders, which are the publisher's own.

    A number of first folders is left out only where many recordings are found without them, so that
    a file of the same name elsewhere is not taken for a missing recording.
    """
    rows = list(places)
    recordings = RecordingPaths(root)
    written = {
        fields["audio_path"]
        for _, fields in rows
        if not isinstance(fields, RowError) and isinstance(fields["audio_path"], str)
    }
    found = [
        sum(recordings.has(_shortened(path, left_out)) for path in written)
        for left_out in range(_depth(written))
    ]
    accepted = [
        left_out
        for left_out, count in enumerate(found)
        if count and count >= max(found) * MIN_FOUND_SHARE
    ]
    for place, fields in rows:
        if not isinstance(fields, RowError) and isinstance(fields["audio_path"], str):
            paths = [_shortened(fields["audio_path"], left_out) for left_out in (0, *accepted)]
            fields = fields | {
                "audio_path": next((path for path in paths if recordings.has(path)), paths[0])
            }
        yield place, fields


def _depth(written: Iterable[str]) -> int:
    return max((len(_parts(path)) for path in written), default=0)


def _shortened(written: str, left_out: int) -> str:
    parts = _parts(written)
    return "/".join(parts[min(left_out, len(parts) - 1) :])


def _parts(written: str) -> list[str]:
    return [part for part in PurePosixPath(written).parts if part not in ("/", "..")] or [written]


def _without_repetitions(
    places: PlacedRows, benchmark: str
) -> Iterator[tuple[str, Fields | RowError]]:
    """Yield each question of a clip once, and print how many repetitions were left out."""
    seen = set()
    repeated = 0
    for place, fields in places:
        if not isinstance(fields, RowError):
            asked = repr([fields[name] for name in ("audio_path", "question", "choices", "answer")])
            if asked in seen:
                repeated += 1
                continue
            seen.add(asked)
        yield place, fields
    if repeated:
        print(
            f"{benchmark}: {counted(repeated, 'row', 'asks/ask')} a question of a clip again, in"
            f" another noise: noises"
            " are drawn here, it is kept once"
        )
