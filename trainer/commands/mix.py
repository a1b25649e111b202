"""`reid-train mix`: interpolate the weights of two networks."""

from pathlib import Path
from typing import Annotated

import typer

from trainer.output import say

Network = Annotated[Path, typer.Argument(help="a checkpoint, a run's folder, a bundle's folder or name")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(mix)


def mix(
    first: Network,
    second: Network,
    out: Annotated[Path, typer.Argument(help="a .pt file, or a folder, into which best.pt is written")],
    share: Annotated[float, typer.Option(min=0, max=1, help="weight of FIRST; SECOND has the rest")] = 0.5,
) -> None:
    """Mix two networks of one architecture, such as a fine-tuned one and its start (WiSE-FT, arXiv 2109.01903).

    Then `eval`, `export` and `calibrate` it like any checkpoint.
    """
    from trainer.evaluate.network import named_bundle
    from trainer.export import mixture

    file = mixture.mix(named_bundle(first), named_bundle(second), share, out)
    say(f"{file}: {share:g} of {first}, {1 - share:g} of {second}")
