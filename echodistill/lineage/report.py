"""Print the origin of a registered model, and whether each part is unchanged, for ``echodistill
provenance``.
"""

import hashlib
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from echodistill.lineage.chain import (
    Chain,
    agrees,
    chain_of,
    parameter,
    parse_reference,
)
from echodistill.lineage.clips import TABLE, ClipState, clip_states
from echodistill.lineage.dvc_lock import LOCK, Lock, parse_lock
from echodistill.lineage.record import FILE, Record, parse_record
from echodistill.lineage.verify import (
    Object,
    objects_of,
    open_published,
    weights_hash,
    weights_state,
)
from echodistill.storage.client import Store
from echodistill.storage.dvc_hashes import dvc_md5
from echodistill.tracking.client import tracking_uri, without_credentials
from echodistill.tracking.runs import read_run_file, run_tags
from echodistill.tracking.versions import Version, find_version, weights_of

WIDTH = 100
FAULTS = ("missing", "damaged", "changed")
IN_RUN = "in the MLflow run"
PUBLISH = "set ECHODISTILL_S3 and run `echodistill register` again where the model was made"

WriteLine = Callable[[str], None]


def show(reference: str, write_line: WriteLine) -> bool:
    """Print the whole chain of ``MODEL@alias`` or ``MODEL/version``, and return whether all checks
    matched.

    MLflow and S3 are needed, but no repository. The recordings are compared too where the working
    folder has them. Raise ``UserError`` where a service or the record cannot be used.
    """
    wanted = parse_reference(reference)
    version = find_version(wanted.model, wanted.alias, wanted.version)
    tags = run_tags(version.run_id)
    content = read_run_file(version.run_id, FILE)
    if content is None:
        _head(version, tags, None, write_line)
        for name, value in sorted(tags.items()):
            if name == "dvc.lock" or name.startswith("input."):
                write_line(f"  {name:<30} {value}")
        write_line(
            f"\nThe MLflow run has no {FILE}, so nothing was published with this version: {PUBLISH}"
        )
        return True
    record = parse_record(content, f"{FILE} of MLflow run {version.run_id}")
    _head(version, tags, record, write_line)
    return _Report(record, write_line).run(version, tags)


def _head(
    version: Version, tags: Mapping[str, str], record: Record | None, write_line: WriteLine
) -> None:
    aliases = f" ({', '.join(version.aliases)})" if version.aliases else ""
    trees = {"true": ", with changes that were not committed", "false": ", clean work tree"}
    flow = [tags[name] for name in ("prefect.flow_run_id", "prefect.flow_run_url") if name in tags]
    write_line(f"{version.model} version {version.number}{aliases}")
    write_line(f"  MLflow run  {version.run_id} at {without_credentials(tracking_uri())}")
    write_line(
        f"  git         {tags.get('git.rev', 'unknown')}{trees.get(tags.get('git.dirty', ''), '')}"
    )
    write_line(f"  flow run    {' '.join(flow) or 'none'}")
    if record is not None:
        write_line(
            f"  published   {f'{record.place} at {record.server}' if record.place else 'no'}"
        )


class _Report:
    """Print one section after the other, each as soon as it is verified, and count the results."""

    def __init__(self, record: Record, write_line: WriteLine) -> None:
        self._record = record
        self._write_line = write_line
        self._store: Store | None = open_published(record) if record.place else None
        self._hashes = Lock(b"", record.stages).outputs()
        self._states: Counter[str] = Counter()
        self._objects: dict[str, list[Object]] = {}
        """Objects of each output, by the output's path."""
        self._faults: list[str] = []

    def run(self, version: Version, tags: Mapping[str, str]) -> bool:
        chain = chain_of(self._record)
        self._weights(version)
        self._lock(version.run_id, tags)
        self._write_line(f"\n== what {self._record.model} was made from, back to raw data")
        for stage in chain.behind:
            self._stage(stage)
        self._raw(chain)
        if chain.others:
            self._write_line("\n== what was made beside it and to judge it")
        for stage in chain.others:
            self._stage(stage)
        clips = self._clips(chain)
        return self._sum_up(clips)

    def _row(self, state: str, digest: str, name: str, path: str, where: str) -> None:
        """Print one verified part and count its state. ``path`` and ``where`` name it in the list
        of faults.
        """
        self._write_line(f"  {state:<8} {digest}  {name}")
        self._states[state] += 1
        if state in FAULTS:
            self._faults.append(f"{state:<8} {path}  {where}")

    def _weights(self, version: Version) -> None:
        objects = self._verified(self._record.model)
        kept, published = weights_of(version, Path(self._record.model).name), weights_hash(objects)
        state = weights_state(version.weights_sha256, kept, published)
        description = {
            "ok": "the same as published" if published else "as they were registered",
            "missing": "MLflow has no such files",
            "damaged": "not those that were registered",
            "changed": "not those that were published",
        }[state]
        self._write_line("\n== registered weights and dvc.lock")
        name = f"weights in MLflow: {description}"
        self._row(
            state,
            kept or version.weights_sha256 or "-",
            name,
            name,
            f"models:/{version.model}/{version.number}",
        )

    def _lock(self, run_id: str, tags: Mapping[str, str]) -> None:
        sha256, content = self._record.lock_sha256, read_run_file(run_id, LOCK)
        state = "missing"
        if content is not None:
            state = "ok" if hashlib.sha256(content).hexdigest() == sha256 else "damaged"
        if state == "ok" and tags.get("dvc.lock", sha256) != sha256:
            state = "changed"  # A tag of the run names another lock.
        self._row(state, sha256, LOCK, LOCK, IN_RUN)
        if (
            content is not None
            and state == "ok"
            and not agrees(self._record, parse_lock(content, f"{LOCK} of MLflow run {run_id}"))
        ):
            self._row("changed", sha256, f"{FILE} differs from {LOCK}", FILE, IN_RUN)

    def _stage(self, name: str) -> None:
        stage = self._record.stages[name]
        self._write_line(f"\n{name}")
        self._wrapped("$ ", stage.command)
        if stage.deps:
            self._wrapped("reads ", ", ".join(stage.deps))
        for path, md5 in stage.outs.items():
            self._write_line(f"  {path}  md5 {md5}")
            if path in self._record.addresses:
                self._write_line(f"    {self._record.addresses[path]}")
            elif self._store is not None:
                self._write_line("    not published")
            for part in self._verified(path):
                assert self._store is not None
                url = self._store.place.object_url(part.md5)
                self._row(part.state, part.md5, part.name, part.path, url)

    def _wrapped(self, label: str, text: str) -> None:
        indent = " " * (2 + len(label))
        lines = textwrap.wrap(
            text,
            WIDTH,
            initial_indent=f"  {label}",
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines:
            self._write_line(line)

    def _verified(self, path: str) -> list[Object]:
        """Return the verified objects of an output, verified once only; empty where it was not
        published.
        """
        if path not in self._objects:
            self._objects[path] = (
                objects_of(self._store, path, self._hashes[path])
                if self._store is not None and path in self._record.addresses
                else []
            )
        return self._objects[path]

    def _raw(self, chain: Chain) -> None:
        """Print the raw data without counting it: files may have been added from which no clip was
        made.

        The clips' hashes decide.
        """
        if chain.raw:
            self._write_line("\nraw data (not published)")
        for path, md5 in chain.raw.items():
            here = dvc_md5(Path(path))
            text = (
                "not here"
                if here is None
                else "the same here"
                if here == md5
                else "has other content here now"
            )
            self._write_line(f"  {path}  md5 {md5}, {text}")

    def _clips(self, chain: Chain) -> list[ClipState]:
        if self._store is None:
            return []
        found: list[ClipState] = []
        listed = False
        for name in chain.behind:
            stage = self._record.stages[name]
            for path in stage.outs:
                table = next((part for part in self._verified(path) if part.name == TABLE), None)
                if table is None:
                    continue
                listed = True
                self._write_line(
                    f"\n== clips of {path}: stored bytes, clip, split, sha256 of the source, source"
                )
                if table.state != "ok":
                    self._write_line(f"  cannot be listed: {TABLE} is {table.state}")
                    continue
                source, test_source = (
                    parameter(stage, "corpus.source"),
                    parameter(stage, "corpus.test.source"),
                )
                states = clip_states(self._store, self._verified(path), str(source), test_source)
                width = max((len(state.clip.clip_id) for state in states), default=0)
                for state in states:
                    clip = state.clip
                    source = f"{state.source:<8} {clip.source}"
                    self._write_line(
                        f"  {state.stored:<8} {clip.clip_id:<{width}} {clip.split:<10}"
                        f" {clip.source_sha256} {source}"
                    )
                found += states
        if not listed:
            self._write_line(
                f"\n== clips: none can be listed, no output that could be read has a {TABLE}"
            )
        return found

    def _sum_up(self, clips: list[ClipState]) -> bool:
        stored: Counter[str] = Counter(state.stored for state in clips)
        sources: Counter[str] = Counter(state.source for state in clips)
        fault = bool(self._faults) or any(stored[name] or sources[name] for name in FAULTS)
        if self._faults:
            self._write_line("\n== does not match")
        for line in self._faults:
            self._write_line(line)
        self._write_line("")
        if (
            any("  s3://" in line for line in self._faults)
            or stored["missing"]
            or stored["damaged"]
        ):
            self._write_line(
                "To replace what is missing or damaged in S3: `echodistill publish`, where dvc.lock"
                " is still the one above"
            )
        if self._store is None:
            self._write_line(f"Nothing was published with this version: {PUBLISH}")
        counts = [("objects", self._states), ("clips", stored), ("sources", sources)]
        text = "; ".join(
            f"{sum(found.values())} {what}: {_counted(found)}" for what, found in counts if found
        )
        self._write_line(f"{'DIFFERS' if fault else 'matches'}: {text}")
        return not fault


def _counted(states: Mapping[str, int]) -> str:
    def order(names: Iterable[str]) -> list[str]:
        return sorted(names, key=lambda name: (name != "ok", name))

    return ", ".join(f"{states[name]} {name}" for name in order(states))
