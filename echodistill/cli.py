"""The program ``echodistill``, with one command for each intention of a user.

Heavy imports are inside the commands, so that ``--help`` is quick.
"""

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echodistill.clip_commands import ask, export_audio, listen
from echodistill.core.errors import UserError
from echodistill.core.extras import missing_extra_named
from echodistill.core.terminal import accept_any_text, exit_on_broken_pipe
from echodistill.method_commands import methods
from echodistill.project import COMPARED_MODELS, REPORTS, in_repository, other_code
from echodistill.publish_commands import publish, register
from echodistill.services.cli import app as services_app
from echodistill.services.loopback import bypass_proxies
from echodistill.storage.place import place_from_environment

if TYPE_CHECKING:
    from echodistill.params.whole import Params

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Make audio language models noise-robust.",
)
app.add_typer(services_app, name="services")

COMPARISON, COMPARED = Path("comparison/dvc.yaml"), REPORTS / "compare.json"
EVALUATION = Path("evaluation/dvc.yaml")
QUICK = (
    "compare.seeds=[1]",
    "compare.train=[sft, grpo, distill, echodistill]",
    "compare.controls=[]",
    "compare.denoisers=[wavelet, spectral_gating]",
    "compare.folds=[]",
    "train.steps=60",
)
INTERRUPTED = 130
"""Exit status of a command that Ctrl-C ended."""
Presets = Annotated[
    list[str] | None,
    typer.Option(
        "-P",
        "--preset",
        metavar="NAME",
        help="Lay the settings of presets/NAME.yaml over params.yaml for this run; -S wins.",
    ),
]
"""The option of the commands that take ``-S``."""
STAGE_MEMORY = 2 * 2**30
"""Bytes of memory to reserve for a stage of the comparison. With the default model a stage takes up
to 1.4 GB.
"""


def main() -> None:
    """Run the program. A user's error is printed in one line without a traceback."""
    accept_any_text()
    os.environ.update(bypass_proxies(os.environ))
    try:
        with exit_on_broken_pipe(), missing_extra_named():
            app()
    except UserError as error:
        sys.exit(f"error: {error}")
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            print(f"interrupted: {_resumption(sys.argv[1:])}", file=sys.stderr)
        raise


def _resumption(arguments: list[str]) -> str:
    """Return how an interrupted command goes on."""
    command = f"`{shlex.join(['echodistill', *arguments])}`"
    if arguments[:1] in (["run"], ["compare"]):
        return (
            f"{command} continues where it stopped; finished stages are kept, and a training goes"
            " on from its last checkpoint"
        )
    return f"run {command} again"


@app.command()
def run(
    stages: Annotated[
        list[str] | None, typer.Argument(help="Stages to bring up to date; all when none is named.")
    ] = None,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "-S",
            metavar="KEY=VALUE",
            help="Override a parameter for this run, e.g. -S train.method=grpo.",
        ),
    ] = None,
    preset: Presets = None,
) -> None:
    """Bring the pipeline up to date (dvc repro) and print the result table.

    Where the corpus is used for testing only, as a benchmark is, the base is evaluated on it and
    nothing is trained.
    """
    from echodistill.evaluating import NOTHING_TO_TRAIN, check_evaluation
    from echodistill.method_data import check_method_data
    from echodistill.reports import run_tables
    from echodistill.stage_names import check_stages

    in_repository()
    check_stages(stages or [])
    evaluates = False

    def check(params: "Params") -> list[str] | None:
        nonlocal evaluates
        check_method_data(params, Path())
        evaluates = not stages and params.corpus.is_test_only
        if not evaluates:
            return None
        check_evaluation(params)
        print(NOTHING_TO_TRAIN)
        return [str(EVALUATION)]

    _run_dvc(stages or [], _settings(preset, override), _given(preset, override), check=check)
    if evaluates:
        run_tables.evaluation_table()
    elif not stages or "evaluate" in stages or "promote" in stages:
        run_tables.result_table()


def _settings(preset: list[str] | None, override: list[str] | None) -> list[str]:
    """Return the settings of presets, and after them those of ``-S``, which win."""
    from echodistill.presets import preset_overrides

    in_repository()
    return [*preset_overrides(preset or []), *(override or [])]


def _run_dvc(
    stages: list[str],
    overrides: list[str],
    options: list[str],
    jobs: int = 1,
    check: "Callable[[Params], list[str] | None]" = lambda _params: None,
) -> None:
    """Run DVC, ``jobs`` stages at a time, with parameters that are overridden during the run.

    ``options`` are those that the user gave, which messages repeat. Exit with status 1 where a
    stage failed. ``check`` is called before anything is changed. It may return other stages to run,
    and raises ``UserError`` for valid parameters with which a run cannot start.
    """
    from echodistill.core.cache_location import cache_folder
    from echodistill.dvc_folder import dvc_folder_fault
    from echodistill.leftovers import remove_leftovers
    from echodistill.lineage.dvc_lock import set_damaged_aside
    from echodistill.overrides import applied, check_inputs, overridden, restore
    from echodistill.repro import repro
    from echodistill.run_lock import exclusive_run

    params = in_repository()
    if warning := other_code():
        print(f"warning: {warning}", file=sys.stderr)
    with exclusive_run() as held:
        if message := restore(params):
            print(message)
        for line in remove_leftovers(Path(), cache_folder()):
            print(line)
        # All parameters are validated here: DVC reads only the keys that stages name.
        changed = applied(params, overrides)
        check_inputs(changed)
        stages = check(changed) or stages
        _check_store()
        if cure := dvc_folder_fault(Path()):
            raise UserError(cure)
        for folder in (Path(), COMPARISON.parent, EVALUATION.parent):
            if message := set_damaged_aside(folder):
                print(message)
        with overridden(params, overrides):
            status = repro(stages, jobs, held, options)
    if status != 0:
        raise typer.Exit(1)


def _given(presets: list[str] | None, overrides: list[str] | None) -> list[str]:
    """Return the presets and overrides as the user gave them on the command line."""
    options = [("-P", name) for name in presets or []]
    options += [("-S", override) for override in overrides or []]
    return [word for option in options for word in option]


@app.command()
def compare(
    quick: Annotated[
        bool, typer.Option(help="One seed, the methods, few steps: a first look in minutes.")
    ] = False,
    override: Annotated[
        list[str] | None,
        typer.Option(
            "-S",
            metavar="KEY=VALUE",
            help="Override a parameter for this run, e.g. -S compare.seeds=[1,2].",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=(
                "Stages at a time, each on one core.  \\[default: as cores and memory allow, up to"
                " 8; 1 with a GPU]"
            ),
        ),
    ] = None,
    preset: Presets = None,
) -> None:
    """Train and evaluate every system of the section `compare` with every seed.

    The result table is printed at the end. Stages that are up to date do not run again.
    """
    from echodistill.data.mixes.folds import check_folds
    from echodistill.evaluating import NOTHING_TO_TRAIN
    from echodistill.method_data import check_method_data
    from echodistill.reports.compare_table import print_comparison
    from echodistill.reports.run_tables import console
    from echodistill.systems import check_distinct
    from echodistill.tracking.client import make_store
    from echodistill.tracking.log_comparison import log_comparison

    def check(params: "Params") -> None:
        if params.corpus.is_test_only:
            raise UserError(
                f"{NOTHING_TO_TRAIN}: run `echodistill run`, or give a comparison something to"
                " train on"
            )
        check_method_data(params, Path(), params.compare.trained)
        check_distinct(params)
        check_folds(params.mixes, params.compare.folds)
        try:
            make_store()
        except UserError as error:  # Training works without the store.
            print(f"warning: {error}", file=sys.stderr)

    _run_dvc(
        [str(COMPARISON)],
        [*(QUICK if quick else []), *_settings(preset, override)],
        [*(["--quick"] if quick else []), *_given(preset, override)],
        jobs or _cores(),
        check,
    )
    print_comparison(json.loads(COMPARED.read_text(encoding="utf-8")), console())
    print(log_comparison(REPORTS, COMPARED_MODELS))


def _cores() -> int:
    """Return how many stages compute at a time: one with a GPU, else as many as cores and memory
    allow.
    """
    import torch

    from echodistill.workers import worker_count

    if torch.cuda.is_available():
        return 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(8, worker_count(), memory // STAGE_MEMORY))


def _check_store() -> None:
    """Check that a configured store works before anything is computed. Raise ``UserError`` where it
    does not.
    """
    if place := place_from_environment():
        from echodistill.storage.client import check

        check(place)


@app.command()
def champion(
    rollback: Annotated[
        bool,
        typer.Option(
            "--rollback",
            help="Make the previous version champion again, and exclude the present one.",
        ),
    ] = False,
    set_to: Annotated[
        str | None,
        typer.Option(
            "--set", metavar="VERSION", help="Make this version champion, even after a rollback."
        ),
    ] = None,
) -> None:
    """Print the registry's champion, when it became champion, and the history; or change it."""
    from echodistill.lineage.publish import forget_registered
    from echodistill.tracking.champion import championship, roll_back, set_champion

    if rollback and set_to is not None:
        raise UserError("--rollback and --set both name the champion: give one of them")
    if rollback:
        now, before = roll_back()
        print(f"version {before} was rolled back: version {now} is champion again")
    elif set_to is not None:
        set_champion(set_to)
        print(f"version {set_to} is champion")
    if rollback or set_to is not None:
        forget_registered()
    found = championship()
    print(
        f"champion of echodistill: version {found.version}"
        + (f", since {found.since}" if found.since else "")
    )
    for change in found.changes:
        print(f"  {change.since}  {change.how} version {change.version}")


@app.command()
def provenance(
    version: Annotated[
        str,
        typer.Argument(
            metavar="MODEL@alias", help="A registered model: MODEL@alias or MODEL/version."
        ),
    ],
) -> None:
    """Print where a registered model comes from, down to the raw clips.

    Every object is read. Exits with 1 when something is missing, damaged or changed.
    """
    from echodistill.lineage.report import show

    if not show(version, print):
        raise typer.Exit(1)


app.command()(publish)
app.command()(register)
app.command()(methods)
app.command()(ask)
app.command()(listen)
app.command("export-audio")(export_audio)


@app.command()
def doctor() -> None:
    """Check versions, devices, cache and tools, and print what is missing and the cure.

    Exits with 1 when something must be fixed.
    """
    from echodistill.doctor import examine

    findings = examine()
    for finding in findings:
        print(finding.line())
    if any(finding.cure for finding in findings):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
