"""The command line's root."""

from typing import Annotated

import typer

from lt_onnx.version import __version__

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Turn trained ONNX networks into strong lottery tickets, prove them and compare them.",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"lt-onnx {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn trained ONNX networks into strong lottery tickets, prove them and compare them."""
