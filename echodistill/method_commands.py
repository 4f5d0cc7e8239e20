"""The command ``methods``, which lists the methods and shows one."""

from pathlib import Path
from typing import Annotated

import typer


def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A method to show with its settings.")
    ] = None,
) -> None:
    """List the methods of training: what each does, what data it needs, whether it samples.

    A method of your own that is registered in echodistill/params/methods.py is listed too.

    With a NAME, show that method: its settings with defaults, its presets, its docs page.
    """
    # The classes of methods import torch, which takes a second.
    from echodistill.method_facts import details, overview
    from echodistill.params.whole import load_params
    from echodistill.presets import FOLDER, PACKAGED

    if name is None:
        print("\n".join(overview()))
        return
    root = Path(__file__).parents[1]
    train = load_params(PACKAGED.with_name("params.yaml")).train
    values = train.methods.model_dump().get(name, {})
    presets = FOLDER if FOLDER.is_dir() else PACKAGED
    print("\n".join(details(name, values, presets, root)))
