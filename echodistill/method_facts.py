"""Describe the registered methods in words: what each does, and what it needs of the data."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any, Literal, get_args, get_origin

from echodistill.core.errors import UserError
from echodistill.methods.registry import class_of
from echodistill.params.accelerators import ACCELERATORS
from echodistill.params.faults import did_you_mean
from echodistill.params.meanings import meanings_of
from echodistill.params.methods import METHODS, MethodSettings
from echodistill.params.references import ViewName
from echodistill.presets import preset, preset_names

WIDTH = 79
"""Columns of a page, so that it fits a terminal of 80."""
PAGES = Path("docs/methods")
"""Folder of the pages about methods, below the repository's root."""
OF_TEACHER = {
    "targets": "its response, with the distribution at each token",
    "log_probs": "its scores of the student's samples",
}
"""What a method uses of its teacher, by ``methods.base.Need``."""
OF_DATA = {"answer": "right answers", "transcript": "transcripts"}
"""Fields of a question or of its clip in words."""


@dataclass(frozen=True)
class MethodFacts:
    """Facts about one method, all read from its class and its settings' class."""

    name: str
    settings: type[MethodSettings]
    samples: bool
    """Whether the student samples responses."""
    view: ViewName | None
    """What its teacher is given; ``None`` without a teacher."""
    of_teacher: tuple[str, ...]
    """What is used of the teacher, in words."""
    fields: tuple[str, ...]
    """Fields that every training question or its clip must have filled in."""
    text_teacher: bool
    """Whether a language model without audio teaches too (``base.text_teacher``)."""
    judge: bool
    """Whether a judge compares the samples with the teacher's responses."""

    @property
    def data(self) -> list[str]:
        """Return what must be there beside clean clips and questions, in words."""
        return [OF_DATA.get(name, f"`{name}`") for name in self.fields]

    @property
    def teacher(self) -> str:
        """Return in words what the teacher is given."""
        if self.text_teacher:
            return "a text model, given the transcript (base.text_teacher)"
        words = {"clean": "the clean clip", "transcript": "the transcript as text", None: "none"}
        return words.get(self.view, str(self.view))

    @property
    def needs(self) -> str:
        """Return in one line what the method needs."""
        parts = [
            "samples" if self.samples else "no samples",
            f"teacher given {self.teacher}" if self.view else self._other_teacher,
            *(self.data or ["no right answers"]),
            *(["a judge"] if self.judge else []),
        ]
        return "; ".join(parts)

    @property
    def _other_teacher(self) -> str:
        return "a text teacher (base.text_teacher)" if self.text_teacher else "no teacher"


def facts_of(name: str) -> MethodFacts:
    """Return the facts about the method ``name``. Raise ``UserError`` for an unknown one."""
    if name not in METHODS:
        like = did_you_mean(name, list(METHODS)) or "."
        raise UserError(f"there is no method {name!r}{like} There are {', '.join(METHODS)}")
    method, settings = class_of(name), METHODS[name]
    used = sorted({need for teacher in method.teachers for need in teacher.needs}, reverse=True)
    return MethodFacts(
        name,
        settings,
        method.samples,
        settings.view if method.teachers else None,
        tuple(OF_TEACHER.get(need, need) for need in used),
        tuple(sorted(settings.needs)),
        settings.text_teacher,
        method.judge,
    )


def overview() -> Iterator[str]:
    """Yield the lines of a list of all methods."""
    width = max(map(len, METHODS)) + 2
    for name in METHODS:
        facts = facts_of(name)
        yield from _entry(name, facts.settings.label, width)
        yield from _entry("", facts.needs, width)
    yield ""
    yield from wrap(
        "Every method needs clean clips with questions; noise is mixed in here."
        " `echodistill methods NAME` shows one with its settings,"
        " `echodistill run -S train.method=NAME` trains with it. With any method:"
        f" train.accelerator={' | '.join(ACCELERATORS)}.",
        WIDTH,
    )


def details(name: str, values: dict[str, Any], presets: Path, root: Path) -> Iterator[str]:
    """Yield the lines of a page about the method ``name``.

    ``values`` are its settings in ``params.yaml``, ``presets`` is the folder of the presets and
    ``root`` the repository's. Raise ``UserError`` for an unknown method.
    """
    facts = facts_of(name)
    yield from wrap(facts.settings.label, WIDTH)
    yield ""
    yield from wrap(f"{facts.settings.description}.", WIDTH)
    yield ""
    page = PAGES / f"{name}.md"
    named = [one for one in preset_names(presets) if ("train.method", name) in preset(one, presets)]
    for title, text in (
        ("samples", "train.rollouts responses to each prompt" if facts.samples else "none"),
        ("teacher", facts.teacher),
        ("of teacher", "; ".join(facts.of_teacher)),
        ("data", ", ".join(["clean clips with questions", *facts.data])),
        ("judge", "compares samples with the teacher's responses" if facts.judge else "none"),
        ("docs", str(page) if (root / page).is_file() else f"none ({page} is missing)"),
        ("run", "" if name in named else f"echodistill run -S train.method={name}"),
        *(("preset", _preset(one, presets)) for one in named),
    ):
        yield from _entry(title, text, 12) if text else ()
    yield ""
    yield f"Settings, below train.methods.{name} of params.yaml, with their defaults:"
    meanings = meanings_of(facts.settings)
    for key, field in facts.settings.model_fields.items():
        yield f"  {key}: {_value(values.get(key))}{_choices(field.annotation)}"
        yield from wrap(
            meanings.get(key, ""), WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6
        )


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _choices(annotation: object) -> str:
    """Return the texts that a setting may have, in brackets; an empty text for other settings."""
    names = get_args(annotation) if get_origin(annotation) is Literal else ()
    return f"  ({' | '.join(names)})" if names else ""


def _preset(name: str, folder: Path) -> str:
    settings = " ".join(f"{key}={_value(value)}" for key, value in preset(name, folder))
    return f"echodistill run -P {name}, which sets {settings}"


def _entry(title: str, text: str, width: int) -> list[str]:
    """Return ``text`` behind ``title``, wrapped beside it."""
    return wrap(
        text,
        WIDTH,
        initial_indent=title.ljust(width - 1) + " ",
        subsequent_indent=" " * width,
        break_on_hyphens=False,
    )
