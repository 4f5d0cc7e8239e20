"""``echodistill methods``: what each registered method needs, as its class states it."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from echodistill.cli import app
from echodistill.core.errors import UserError
from echodistill.method_facts import PAGES, facts_of
from echodistill.methods.registry import class_of
from echodistill.params.methods import METHODS
from echodistill.presets import preset_names, preset_overrides

ROOT = Path(__file__).parents[1]
RUN = CliRunner()


def shown(*arguments: str) -> list[str]:
    result = RUN.invoke(app, ["methods", *arguments])
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_the_list_has_every_method_in_80_columns() -> None:
    lines = shown()
    assert max(map(len, lines)) < 80
    starts = {line.split()[0] for line in lines if line and not line[0].isspace()}
    assert METHODS.keys() <= starts
    for method in METHODS.values():
        assert any(line.endswith(method.label) for line in lines)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_shown_with_all_its_settings(name: str) -> None:
    lines = shown(name)
    assert max(map(len, lines)) < 80
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["train"]["methods"]
    for key in METHODS[name].model_fields:
        (line,) = (line for line in lines if line.startswith(f"  {key}: "))
        value = values[name][key]
        assert yaml.safe_load(line.split()[1]) == value
    assert any(line.endswith(f"docs/methods/{name}.md") for line in lines)
    assert any(
        f"echodistill run -{option} " in line and name in line for line in lines for option in "SP"
    )


def test_what_a_method_needs_is_read_from_its_class() -> None:
    assert facts_of("cord").needs == (
        "samples; teacher given the transcript as text; transcripts; a judge"
    )
    assert facts_of("grpo").needs == "samples; no teacher; right answers"
    assert facts_of("sft").needs == "no samples; no teacher; right answers"
    assert facts_of("opd").needs == "samples; teacher given the clean clip; no right answers"
    for name in METHODS:
        facts = facts_of(name)
        assert facts.samples == class_of(name).samples
        assert ("answer" in facts.fields) >= ("answer" in class_of(name).rewards)


def test_an_unknown_method_is_named_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match=r"^there is no method 'grop': did you mean grpo\? There"):
        facts_of("grop")
    result = RUN.invoke(app, ["methods", "model_dump"])
    assert isinstance(result.exception, UserError)


def test_every_method_has_a_page_that_states_what_it_needs_and_how_to_run_it() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    presets = ROOT / "presets"
    for name in METHODS:
        text = (ROOT / PAGES / f"{name}.md").read_text(encoding="utf-8")
        assert f"methods/{name}.md" in nav
        assert f"**Needs.** {facts_of(name).needs.capitalize()}." in " ".join(text.split()), name
        command = f"-P {name}" if name in preset_names(presets) else f"-S train.method={name}"
        assert f"echodistill run {command}" in text, name
        assert "**When to use it.**" in text, name
    for name in preset_names(presets):
        pages = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")]
        assert any(f"-P {name}" in text for text in pages), f"no page names the preset {name}"
        assert preset_overrides([name], presets)
