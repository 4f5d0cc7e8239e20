"""Trace a model back to raw data by pure functions over a lineage record."""

import re
from dataclasses import dataclass, replace
from typing import Any

from echodistill.core.errors import UserError
from echodistill.lineage.dvc_lock import Lock, LockedStage
from echodistill.lineage.record import Record, record_text


@dataclass(frozen=True)
class Reference:
    """A reference ``MODEL@alias`` or ``MODEL/version``; exactly one of ``alias`` and ``version`` is
    set.
    """

    model: str
    alias: str | None
    version: str | None


def parse_reference(text: str) -> Reference:
    """Return the reference that ``text`` contains. Raise ``UserError`` for any other form."""
    if match := re.fullmatch(
        r"(?P<model>[^@/:]+)(?:@(?P<alias>[^@/]+)|/(?P<version>[0-9]+))", text.strip()
    ):
        return Reference(match["model"], match["alias"], match["version"])
    raise UserError(
        f"{text!r} names no version of a model: write MODEL@alias or MODEL/version, such as"
        " echodistill@champion"
    )


@dataclass(frozen=True)
class Chain:
    """The stages of a record, ordered from the model back to raw data."""

    behind: tuple[str, ...]
    """Stages that led to the model; each comes before all stages whose outputs it read."""
    others: tuple[str, ...]
    """Stages that evaluated the model or are otherwise not part of its origin."""
    raw: dict[str, str]
    """DVC's hash, by path, of each input that no stage made and that is not code."""


def chain_of(record: Record) -> Chain:
    """Return the chain of the record's model. Raise ``UserError`` where no stage made the model."""
    if (start := maker_of(record, record.model)) is None:
        raise UserError(
            f"the lineage record names no stage that made {record.model}: run `echodistill"
            " register` where it was made"
        )
    finished: list[str] = []
    entered: set[str] = set()

    def visit(stage: str) -> None:
        entered.add(stage)
        for path in record.stages[stage].deps:
            maker = maker_of(record, path)
            if maker is not None and maker not in entered:
                visit(maker)
        finished.append(stage)

    visit(start)
    raw = {
        path: record.stages[stage].deps[path]
        for stage in reversed(finished)
        for path in record.stages[stage].deps
        if maker_of(record, path) is None
    }
    return Chain(
        tuple(reversed(finished)),
        tuple(stage for stage in record.stages if stage not in entered),
        raw,
    )


def maker_of(record: Record, path: str) -> str | None:
    """Return the stage that made a path or the folder that contains it, or ``None``."""
    for name, stage in record.stages.items():
        if any(path == out or path.startswith(f"{out}/") for out in stage.outs):
            return name
    return None


def parameter(stage: LockedStage, name: str) -> Any:
    """Return a parameter by its dotted name, or ``None`` where the stage did not read it.

    The lock may have it under its whole name, or within the section that contains it.
    """
    for values in stage.params.values():
        parts = name.split(".")
        for cut in range(len(parts), 0, -1):
            node: Any = values.get(".".join(parts[:cut]))
            for part in parts[cut:]:
                node = node.get(part) if isinstance(node, dict) else None
            if node is not None:
                return node
    return None


def agrees(record: Record, lock: Lock) -> bool:
    """Return whether a record has the same stages as the lock from which it was made."""
    return record_text(replace(record, stages=lock.stages)) == record_text(record)
