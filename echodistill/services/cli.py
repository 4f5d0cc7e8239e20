"""The command ``echodistill services``, which runs the platform on one machine without Docker."""

from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True, help="S3, MLflow, Prefect and workers on this machine, on loopback."
)


@app.command()
def up(
    first_port: Annotated[
        int | None,
        typer.Option(help="First of ten consecutive ports; 8470, or as it was set before."),
    ] = None,
) -> None:
    """Start every service that is not running, and wait until all are ready."""
    from echodistill.services.platform import settings_for_start
    from echodistill.services.platform import up as start
    from echodistill.services.settings import read_settings

    start(settings_for_start(first_port), print)
    settings = read_settings()
    print(
        f"MLflow {settings.mlflow_url} (user admin)  Prefect {settings.prefect_url} (asks for"
        " admin:PASSWORD in one field)"
    )
    print(f"passwords: {settings.folder / 'settings.json'}")
    print('clients: eval "$(echodistill services env)"')


@app.command()
def down() -> None:
    """End all services with everything they started; their data is kept."""
    from echodistill.services.platform import down as end
    from echodistill.services.settings import read_settings

    end(read_settings(), print)


@app.command()
def status() -> None:
    """Show the state, version, address and log of each service. Exits with 1 when one is not up."""
    from echodistill.services.platform import status as look
    from echodistill.services.settings import read_settings

    found = look(read_settings())
    for one in found:
        print(f"{one.name:<12} {one.state:<9} {one.version:<9} {one.url:<24} {one.log}")
    if any(one.state != "up" for one in found):
        raise typer.Exit(1)


@app.command()
def env() -> None:
    """Print shell exports, secrets among them, for clients of the services.

    With them, prefect, mlflow, dvc and aws use these services.
    """
    from echodistill.services.platform import exports
    from echodistill.services.settings import read_settings

    print(exports(read_settings()))
