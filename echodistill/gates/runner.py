"""Judge a gate's expectations with Great Expectations, and write the verdict; no other module uses
that library.

Verdicts hold no time and no random id, so that the same data gives the same bytes: stages depend on
them. Data Docs, the site for people, do hold times and are kept apart.
"""

import gc
import json
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from echodistill.core.atomic import atomic_path
from echodistill.core.counted import counted
from echodistill.core.environment import RUN_OPTIONS
from echodistill.core.errors import UserError
from echodistill.gates.expect import HOLDS, Between, Expect, InSet, NotNull, Rule, Unique
from echodistill.gates.next_step import next_step

SHOWN_IDS = 10
SHOWN_VALUES = 5
DIGITS = 6  # digits of floats in a verdict; further digits differ between machines


@dataclass(frozen=True)
class Result:
    """The result of one expectation."""

    description: str
    table: str
    column: str
    passed: bool
    unexpected_count: int
    """Number of offending rows; an empty table fails with 0."""
    ids: tuple[str, ...]
    """First ten offending ids, sorted."""
    observed: float | str | None
    """Range of numbers, or the single number of a table of one row; the first different values of
    an ``InSet`` rule; ``no rows`` for an empty table, ``missing`` if all values are missing.
    """
    bound: float | None
    """Bound that numbers were compared with."""
    cure: str = ""
    """Remedy; empty if the expectation passed."""


@dataclass(frozen=True)
class Verdict:
    """The verdict of a gate on an artifact."""

    artifact: str
    passed: bool
    results: tuple[Result, ...]
    """One result for each expectation, in the order they were given."""
    notes: tuple[str, ...] = ()
    """Remarks on the artifact, whether it passes or not."""

    @property
    def text(self) -> str:
        """One line for each failed expectation, with its description, the number of offending rows
        and the first of them; then each remedy once.
        """
        failed = [result for result in self.results if not result.passed]
        cures = dict.fromkeys(result.cure for result in failed if result.cure)
        return "\n".join([*map(_line, failed), *(f"what helps: {cure}" for cure in cures)])


def _line(result: Result) -> str:
    found = "" if result.observed is None else f", found {_rounded(result.observed)}"
    ids = ", ".join(result.ids) + (", …" if result.unexpected_count > len(result.ids) else "")
    where = f"{result.unexpected_count} in {result.table}.{result.column}{found}"
    return f"failed: {result.description} ({where})" + (f": {ids}" if ids else "")


def validate(
    artifact: str, checks: Sequence[Expect], docs: Path | None, notes: Sequence[str] = ()
) -> Verdict:
    """Return the verdict on all ``checks``; build the Data Docs site in the folder ``docs``, in
    place of what it holds, unless it is ``None``.

    ``notes`` are added to the verdict unchanged. A table without rows and a missing value fail
    every expectation, though Great Expectations by itself would ignore them.
    """
    if not checks:
        raise ValueError(
            f"nothing is expected of {artifact}: an empty gate would let everything pass"
        )
    if len({check.description for check in checks}) < len(checks):
        raise ValueError(f"two expectations of {artifact} are the same")
    judged: dict[str, Result] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gx = _great_expectations()
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}
        source = context.data_sources.add_pandas("echodistill")
        for table in dict.fromkeys(check.table for check in checks):
            of_table = [check for check in checks if check.table == table]
            outcomes = _run(gx, context, source, of_table)
            judged |= {check.description: _result(check, outcomes) for check in of_table}
        if docs is not None:
            _build_docs(context, docs)
    results = tuple(judged[check.description] for check in checks)
    return Verdict(artifact, all(result.passed for result in results), results, tuple(notes))


def _great_expectations() -> ModuleType:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    gc.disable()  # the search for garbage takes a sixth of the time of the import
    import great_expectations  # the import takes 4 s, so it is only made where it is used

    gc.freeze()
    gc.enable()
    return great_expectations


def _run(gx: ModuleType, context: Any, source: Any, checks: Sequence[Expect]) -> list[Any]:
    """Run all expectations of one table through a checkpoint and return the outcomes. An outcome's
    ``meta`` holds the description of our expectation that it belongs to, if any.
    """
    table, frame, id_column = checks[0].table, checks[0].frame, checks[0].id_column
    if any(check.frame is not frame for check in checks):
        raise ValueError(f"two frames are called {table}")
    rows = gx.expectations.ExpectTableRowCountToBeBetween(
        min_value=1, description=f"{table} has rows"
    )
    suite = gx.ExpectationSuite(
        name=table, expectations=[rows, *(part for check in checks for part in _compile(gx, check))]
    )
    batch = source.add_dataframe_asset(table).add_batch_definition_whole_dataframe("all rows")
    definition = gx.ValidationDefinition(name=table, data=batch, suite=context.suites.add(suite))
    checkpoint = gx.Checkpoint(
        name=table,
        validation_definitions=[context.validation_definitions.add(definition)],
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": [id_column]},
    )
    outcome = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": frame})
    (run,) = outcome.run_results.values()
    return list(run.results)


def _compile(gx: ModuleType, check: Expect) -> list[Any]:
    """Return the library's expectations for ``check``. The library's rules skip missing values, so
    an expectation against them is added if there are any.
    """
    shared = {"column": check.column, "meta": {"description": check.description}}
    rule = _rule(gx, check.rule, {"description": check.description, **shared})
    if isinstance(check.rule, NotNull) or not check.frame[check.column].isna().any():
        return [rule]
    return [
        rule,
        _rule(gx, NotNull(), {"description": f"{check.description} (no value missing)", **shared}),
    ]


def _rule(gx: ModuleType, rule: Rule, shared: dict[str, Any]) -> Any:
    match rule:
        case Between():
            bounds = {
                "min_value": rule.minimum,
                "max_value": rule.maximum,
                "strict_min": rule.strict_minimum,
            }
            return gx.expectations.ExpectColumnValuesToBeBetween(**bounds, **shared)
        case InSet():
            return gx.expectations.ExpectColumnValuesToBeInSet(
                value_set=list(rule.values), **shared
            )
        case Unique():
            return gx.expectations.ExpectColumnValuesToBeUnique(**shared)
        case NotNull():
            return gx.expectations.ExpectColumnValuesToNotBeNull(**shared)


def _result(check: Expect, outcomes: Sequence[Any]) -> Result:
    judged = [
        outcome
        for outcome in outcomes
        if (outcome.expectation_config.meta or {}).get("description") == check.description
    ]
    if faults := [
        outcome.exception_info for outcome in judged if "unexpected_count" not in outcome.result
    ]:
        raise RuntimeError(f"{check.table}.{check.column} could not be judged: {faults[0]}")
    (has_rows,) = (
        outcome
        for outcome in outcomes
        if outcome.expectation_config.type == "expect_table_row_count_to_be_between"
    )
    offending = [
        row[check.id_column]
        for outcome in judged
        for row in outcome.result.get("unexpected_index_list") or ()
    ]
    passed = bool(has_rows.success and all(outcome.success for outcome in judged))
    return Result(
        description=check.description,
        table=check.table,
        column=check.column,
        passed=passed,
        unexpected_count=sum(int(outcome.result["unexpected_count"]) for outcome in judged),
        ids=tuple(str(value) for value in sorted(set(offending))[:SHOWN_IDS]),
        observed=_observed(check.frame[check.column], check.rule),
        bound=check.rule.bound if isinstance(check.rule, Between) else None,
        cure="" if passed else check.cure,
    )


def _observed(values: pd.Series, rule: Rule) -> float | str | None:
    if values.empty:
        return "no rows"
    present = values.dropna()
    if present.empty:
        return "missing"
    if isinstance(rule, InSet) and rule != HOLDS:
        return ", ".join(sorted({str(value) for value in present})[:SHOWN_VALUES])
    if not isinstance(rule, Between):
        return None
    low, high = float(present.min()), float(present.max())
    if len(values) == 1:
        return low if math.isfinite(low) else str(low)
    return f"{low:.{DIGITS}g} to {high:.{DIGITS}g}"


def _build_docs(context: Any, docs: Path) -> None:
    with atomic_path(docs) as temporary:
        store = {
            "class_name": "TupleFilesystemStoreBackend",
            "base_directory": str(temporary.absolute()),
        }
        index = {"class_name": "DefaultSiteIndexBuilder"}
        site = {"class_name": "SiteBuilder", "store_backend": store, "site_index_builder": index}
        context.add_data_docs_site(site_name="verdict", site_config=site)
        context.build_data_docs(site_names=["verdict"])


def write_verdict(path: Path, verdict: Verdict) -> None:
    """Write ``verdict`` as JSON, atomically; equal verdicts give equal bytes."""
    rows = [
        {name: _rounded(value) for name, value in asdict(result).items() if name != "cure" or value}
        for result in verdict.results
    ]
    content = {"artifact": verdict.artifact, "passed": verdict.passed, "results": rows}
    if verdict.notes:
        content["notes"] = list(verdict.notes)
    with atomic_path(path) as temporary:
        temporary.write_text(
            json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
            encoding="utf-8",
        )


def open_gate(
    artifact: str,
    path: Path,
    checks: Sequence[Expect],
    verdict: Path,
    notes: Sequence[str] = (),
    notes_printed: bool = False,
) -> None:
    """Judge the artifact at ``path`` and write the verdict; Data Docs are written to
    ``data_docs/ARTIFACT`` beside the verdicts' folder.

    ``notes_printed`` means that the stage that made the artifact has printed the notes, so
    that only their number is printed here. A negative verdict is written as ``NAME.failed.json``
    instead, and raised as ``UserError``: a stage that depends on a verdict never finds a negative
    one.
    """
    failed = verdict.with_suffix(".failed.json")
    verdict.unlink(missing_ok=True)
    failed.unlink(missing_ok=True)
    docs = verdict.parent.parent / "data_docs" / artifact
    judged = validate(artifact, checks, docs, notes)
    write_verdict(verdict if judged.passed else failed, judged)
    if notes_printed and judged.notes:
        print(
            f"{artifact}: {counted(len(judged.notes), 'remark')} in"
            f" {verdict if judged.passed else failed}"
        )
    for note in () if notes_printed else judged.notes:
        print(f"{artifact}: {note}")
    if not judged.passed:
        # The pages load their scripts from the net, and are empty without it.
        pages = f"{docs / 'index.html'} (shown with a net connection)"
        options = os.environ.get(RUN_OPTIONS, "")
        head = f"gate {artifact} failed ({path}); full report: {failed}, {pages}"
        raise UserError(f"{head}\n{judged.text}\n{next_step(artifact, options)}")
    print(f"{artifact}: {counted(len(judged.results), 'expectation')} met")


def _rounded(value: Any) -> Any:
    return round(value, DIGITS) if isinstance(value, float) else value
