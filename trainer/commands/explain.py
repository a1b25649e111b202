"""`reid-train explain`: draw why two crops match, of two files or of pairs of a test set."""

from pathlib import Path
from typing import Annotated

import typer

import reid_stream
from trainer.output import say

Crop = Annotated[Path | None, typer.Argument(help="an image of a person")]
_SHIPPED = Path(reid_stream.__file__).parent / "models" / "embedder"


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(explain)


def explain(
    first: Crop = None,
    second: Crop = None,
    bundle: Annotated[Path | None, typer.Option(help="a bundle's folder, or `default`: the shipped embedder")] = None,
    out: Annotated[Path, typer.Option(help="PNG file; a folder, with --set")] = Path("explained.png"),
    test_set: Annotated[
        str | None, typer.Option("--set", help="instead of two images: see trainer/data/test_sets.py")
    ] = None,
    data: Annotated[Path | None, typer.Option(envvar="REID_STREAM_DATA", help="folder that holds people/")] = None,
    pairs: Annotated[int, typer.Option(min=1, help="number of queries of the set, each with its best match")] = 10,
    mistakes: Annotated[
        int, typer.Option(min=0, help="how many of them are matched wrongly, the most confident first")
    ] = 3,
    dimensions: Annotated[int, typer.Option(min=1, max=8, help="number shown in favour, and as many against")] = 5,
    seed: int = 0,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all cores")] = None,
) -> None:
    """Draw which dimensions make two crops alike or different, and the image regions that drive them."""
    from reid_stream.explain import Explainer, draw, write
    from trainer.errors import TrainerError
    from trainer.evaluate.explain import choose, read_crop

    bundle = _SHIPPED if bundle is None or str(bundle) == "default" else bundle
    explainer = Explainer(bundle, threads)
    if test_set is None:
        if first is None or second is None:
            raise TrainerError("explain needs two images, or --set with a test set's name")
        explanation = explainer(read_crop(first), read_crop(second), dimensions)
        write(draw(explanation, (first.name, second.name)), out)
        say(f"{out}: P(same person) {explanation.same:.4f}, cosine {explanation.cosine:.3f}")
        return
    if first is not None:
        raise TrainerError("explain takes two images or --set, got both")
    from trainer.data.test_sets import read_test_set
    from trainer.evaluate.network import open_network

    network = open_network(bundle, threads=threads)
    tested = read_test_set(test_set, data, network.spec)
    for number, pair in enumerate(choose(network, tested, pairs, mistakes, seed), start=1):
        explanation = explainer(tested.images.pixels[pair.query], tested.images.pixels[pair.answer], dimensions)
        names = tested.images.names[pair.query], tested.images.names[pair.answer]
        file = out / f"{number:02d}-{'same' if pair.is_same else 'different'}.png"
        write(draw(explanation, names, f"truth: {'the same person' if pair.is_same else 'different people'}"), file)
        say(f"{file}: {names[0]} and {names[1]}, P(same person) {explanation.same:.4f}")
