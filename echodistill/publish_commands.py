"""The commands that hand results on: ``publish`` and ``register``.

They load the storage and tracking libraries inside, because that takes seconds.
"""

from pathlib import Path
from typing import Annotated

import typer

from echodistill.project import BASE, COMPARED_MODELS, REPORTS, STUDENT, in_repository


def publish(
    stages: Annotated[
        list[str] | None,
        typer.Argument(help="Stages whose outputs to publish; all when none is named."),
    ] = None,
) -> None:
    """Publish the outputs of the stages to DVC's remote in S3, and replace what is missing or
    damaged there, for which all objects are read.

    The path and the address of each output are printed.
    """
    from echodistill.lineage.publish import publish_stages
    from echodistill.run_lock import exclude_runs

    in_repository()
    with exclude_runs():
        for path, url in publish_stages(stages or None).items():
            print(f"{path}  {url}")


def register(
    comparison: Annotated[
        bool, typer.Option("--comparison", help="Log the result of `echodistill compare` instead.")
    ] = False,
) -> None:
    """Register the student in the MLflow registry.

    It gets the alias `candidate`, and `champion` on a positive decision. With ECHODISTILL_S3 set,
    all outputs are published first and linked with the MLflow run.
    """
    from echodistill.evaluating import NOTHING_TO_TRAIN
    from echodistill.lineage.publish import publish
    from echodistill.params.whole import load_params
    from echodistill.run_lock import exclude_runs
    from echodistill.tracking.log_comparison import log_comparison

    params = in_repository()
    with exclude_runs():
        if comparison:
            print(log_comparison(REPORTS, COMPARED_MODELS))
            return
        if load_params(params).corpus.is_test_only:
            print(NOTHING_TO_TRAIN)
            return
        print(publish(STUDENT, BASE, REPORTS, Path("data/answers"), Path("dvc.lock")))
