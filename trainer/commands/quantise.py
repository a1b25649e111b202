"""`reid-train quantise`: an int8 bundle for CPUs on which it is faster."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from trainer.output import say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(quantise)


def quantise(
    bundle: Annotated[Path, typer.Argument(help="a bundle's folder or name, embedder or detector")],
    out: Annotated[Path, typer.Argument(help="folder of the int8 bundle")],
    data: Annotated[Path | None, typer.Option(envvar="REID_STREAM_DATA", help="folder of the public sets")] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(help="real images to calibrate ranges on: of an embedder a set of crops, of a detector yolo:PATH, "
                     "mot:PATH[@EVERY] or clip:PATH[@EVERY]; may be repeated"),
    ] = None,
    evaluate: Annotated[
        list[str] | None,
        typer.Option(help="where quality must hold: of an embedder a test set, of a detector NAME=VIDEO,TRUTH[@EVERY]"),
    ] = None,
    pictures: Annotated[int, typer.Option(min=8, help="number of images to calibrate ranges on")] = 300,
    keep: Annotated[
        list[str] | None, typer.Option(help="regular expression of nodes that stay float; default: YOLO11's head")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads")] = 1,
    force: Annotated[bool, typer.Option("--force", help="write it although it is worse or no faster")] = False,
) -> None:  # fmt: skip
    """Quantise a bundle to int8; refused unless quality stays within 0.5 points and it is faster here."""
    from trainer.errors import TrainerError
    from trainer.evaluate.network import named_bundle
    from trainer.export import int8

    if bundle == Path("default") and not bundle.exists():
        raise TrainerError("`default` is two bundles, an embedder and a detector; name one: embedder or detector")
    bundle = named_bundle(bundle)
    made, measured = int8.make(
        bundle, out, data, sources=source or (), sets=evaluate or (), pictures=pictures,
        keep=int8.KEPT if keep is None else keep, threads=threads, force=force, log=say,
    )  # fmt: skip
    say(f"{out}: {made.kind} {made.hash[:12]}, {measured.speed:.2f} times as fast as {measured.before}")
    if made.kind == "embedder":
        say(f"its vectors are others: calibrate it, reid-train calibrate {shlex.quote(str(out))}")
