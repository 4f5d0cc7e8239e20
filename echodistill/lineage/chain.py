"""The way from a model back to raw data: pure functions over a lineage record."""

import re
from dataclasses import dataclass
from typing import Any

from echodistill.core.errors import UserError
from echodistill.lineage.dvc_lock import Lock
from echodistill.lineage.record import Record, Stage


@dataclass(frozen=True)
class Reference:
    """``MODEL@alias`` or ``MODEL/version``; one of the two is given."""

    model: str
    alias: str | None
    version: str | None


def parse_reference(text: str) -> Reference:
    """Raises ``UserError`` for any other form."""
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
    """The stages of a record, in the order of reading back."""

    behind: tuple[str, ...]
    """That led to the model: each before all it read from."""
    others: tuple[str, ...]
    """That judged the model, or stand beside it."""
    raw: dict[str, str]
    """DVC's hash by path of what no stage made and is no code."""


def chain_of(record: Record) -> Chain:
    """Walk from the model back. Raises ``UserError`` when no stage made it."""
    if (start := maker_of(record, record.model)) is None:
        raise UserError(
            f"the lineage record names no stage that made {record.model}: run `echodistill"
            " register` where it was made"
        )
    finished: list[str] = []
    entered: set[str] = set()

    def visit(stage: str) -> None:
        entered.add(stage)
        for path in reads(record.stages[stage]):
            maker = maker_of(record, path)
            if maker is not None and maker not in entered:
                visit(maker)
        finished.append(stage)

    visit(start)
    raw = {
        path: record.stages[stage].deps[path]
        for stage in reversed(finished)
        for path in reads(record.stages[stage])
        if maker_of(record, path) is None
    }
    return Chain(
        tuple(reversed(finished)),
        tuple(stage for stage in record.stages if stage not in entered),
        raw,
    )


def reads(stage: Stage) -> list[str]:
    """Return what a stage read."""
    return list(stage.deps)


def maker_of(record: Record, path: str) -> str | None:
    """The stage that made a path, or the folder it is in."""
    for name, stage in record.stages.items():
        if any(path == out or path.startswith(f"{out}/") for out in stage.outs):
            return name
    return None


def parameter(stage: Stage, name: str) -> Any:
    """A parameter by its dotted name, as the lock has it: whole, or within the section that holds
    it; ``None`` when not read.
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
    """Whether a record says the same as the lock it was made from."""
    if record.stages.keys() != lock.stages.keys():
        return False
    for name, stage in record.stages.items():
        locked = lock.stages[name]
        outs = {path: out.md5 for path, out in stage.outs.items()}
        if (stage.cmd, stage.deps, outs) != (locked.command, locked.deps, locked.outs):
            return False
    return True
