"""`reid-train eval`, `rank`, `calibrate`, `export`, `bench`: from a trained network to a measured bundle."""

from pathlib import Path
from typing import Annotated

import typer

from trainer.output import say

Data = Annotated[Path | None, typer.Option(envvar="REID_STREAM_DATA", help="folder that holds people/")]
Precision = Annotated[str, typer.Option(help="auto, f32 or bf16: arithmetic of the engine that runs a bundle")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; default: all cores")]
Model = Annotated[Path, typer.Argument(help="a checkpoint, a run, a bundle's folder or name, or an ONNX file")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("eval")(evaluate)
    for command in (rank, calibrate, export, bench):
        app.command()(command)


def evaluate(
    model: Model,
    test_set: Annotated[
        list[str] | None, typer.Option("--set", help="see trainer/data/test_sets.py; may be repeated")
    ] = None,
    data: Data = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="average with mirror images, which the daemon does not do")
    ] = False,
    rerank: Annotated[bool, typer.Option("--rerank", help="k-reciprocal re-ranking as well")] = False,
    precision: Precision = "auto",
    threads: Threads = None,
    out: Annotated[Path | None, typer.Option(help="folder for report.json and plots")] = None,
    record: Annotated[bool, typer.Option("--record", help="keep the figures in the bundle and its card")] = False,
) -> None:
    """Measure retrieval, open-set and verification figures under the Market-1501 protocol."""
    import json
    from dataclasses import asdict

    from rich.console import Console

    from trainer.data.test_sets import check_test_sets, read_test_set
    from trainer.errors import TrainerError
    from trainer.evaluate.network import open_network
    from trainer.evaluate.protocol import Evaluation, Ranking, evaluate, table

    network = open_network(model, precision, threads)
    rankings: list[Ranking] = ["cosine"] if len(set(network.verifier.d)) == 1 else ["cosine", "verification"]
    if rerank:
        rankings.append("cosine+rerank")
    if record and not (model / "bundle.json").is_file():
        raise TrainerError(f"--record needs a bundle's folder, got {model}; export it first")
    names = test_set or ["market1501"]
    check_test_sets(names[1:], data)
    found: list[Evaluation] = []
    for name in names:
        found += evaluate(network, read_test_set(name, data, network.spec), rankings, flip)
    reports = [item.report for item in found]
    say(", ".join(dict.fromkeys(f"{report.network} ({report.precision})" for report in reports)))
    console = Console()
    (console if console.is_terminal else Console(width=1_000)).print(table(reports))  # a log needs no wrapping
    for protocol in dict.fromkeys(f"{report.test_set}: {report.protocol}" for report in reports):
        say(protocol)
    if out is not None:
        from trainer.evaluate import plots

        out.mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_text(json.dumps([asdict(report) for report in reports], indent=1), encoding="utf-8")
        plots.evaluation(found, out / "evaluation.png")
    if record:
        from trainer.export import model_card

        model_card.record(model, {key: value for report in reports for key, value in report.metrics().items()})


def rank(
    model: Model,
    out: Annotated[Path, typer.Argument(help="PNG file")],
    test_set: Annotated[str, typer.Option("--set", help="see trainer/data/test_sets.py")] = "market1501",
    data: Data = None,
    queries: Annotated[int, typer.Option(min=1, help="number of queries")] = 8,
    worst: Annotated[bool, typer.Option("--worst", help="the queries with the lowest AP, not a random sample")] = False,
    seed: int = 0,
    precision: Precision = "auto",
    threads: Threads = None,
) -> None:
    """Draw queries with their ten best matches, right ones framed green, wrong ones red."""
    import numpy as np

    from trainer.data.test_sets import read_test_set
    from trainer.evaluate import ranked_lists
    from trainer.evaluate.network import folded, open_network
    from trainer.evaluate.retrieval import score, squared_distances

    network = open_network(model, precision, threads)
    tested = read_test_set(test_set, data, network.spec)
    vectors = folded(network.embed(tested.images.pixels, False), network.verifier)
    distances = np.concatenate(list(squared_distances(vectors[tested.query], vectors[tested.gallery])))
    labels, pixels = tested.labels, tested.images.pixels
    same = labels.query_persons[:, None] == labels.gallery_persons
    asked = np.flatnonzero((same & (labels.query_cameras[:, None] != labels.gallery_cameras)).any(axis=1))
    if worst:
        chosen = asked[np.argsort(score([distances], labels).average_precision, kind="stable")[:queries]]
    else:
        chosen = np.sort(np.random.default_rng(seed).choice(asked, min(queries, len(asked)), replace=False))
    rows = []
    for row in chosen:
        order, right = ranked_lists.ranking(distances[row], labels, int(row))
        rows.append((pixels[tested.query[row]], [pixels[tested.gallery[place]] for place in order], right))
    ranked_lists.write(ranked_lists.sheet(rows), out)
    say(f"{out}: {len(rows)} queries of {tested.name}, {sum(right[0] for _, _, right in rows)} right at rank 1")


def calibrate(
    bundle: Annotated[Path, typer.Argument(help="a bundle's folder; its calibration is replaced")],
    fit_sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="persons that were not trained on, default market1501:validation; may be repeated, for a "
            "curve that holds on more kinds of cameras",
        ),
    ] = None,
    test_set: Annotated[str, typer.Option("--test", help="where ECE and Brier are measured, or none")] = "market1501",
    strangers: Annotated[
        list[str] | None,
        typer.Option(help="a set on which the curve is tried: false-match rates asked and obtained; may be repeated"),
    ] = None,
    data: Data = None,
    precision: Precision = "auto",
    threads: Threads = None,
) -> None:
    """Fit the calibration of a bundle, margin to P(same), at the precision it is served in."""
    from trainer.export import calibrate_bundle

    for line in calibrate_bundle.run(
        bundle,
        fit_sets or ["market1501:validation"],
        None if test_set == "none" else test_set,
        data,
        precision,
        threads,
        strangers or (),
    ):
        say(line)


def export(
    checkpoint: Annotated[Path, typer.Argument(help="a checkpoint, or a run's folder: its best one")],
    out: Annotated[Path, typer.Argument(help="folder of the bundle")],
    precision: Annotated[str, typer.Option(help="f32, f16 or int8-weights: of the stored weights")] = "f16",
    data: Data = None,
    name: Annotated[str | None, typer.Option(help="name of the bundle; default: the folder's name")] = None,
    note: Annotated[str, typer.Option(help="added to `source` in bundle.json and the model card")] = "",
) -> None:
    """Export a checkpoint as a bundle with its model card; refused if the outputs disagree.

    Teachers, data sets, hours, images seen and the command of the training are written from the checkpoint.
    """
    from trainer.errors import TrainerError
    from trainer.export.bundle import MIN_COSINE, export

    if precision not in MIN_COSINE:
        raise TrainerError(f"--precision must be {', '.join(MIN_COSINE)}, got {precision!r}")
    bundle, agreement = export(checkpoint, out, precision, data, name, note)  # type: ignore[arg-type]
    measured = ", ".join(f"{key} {value:.6g}" for key, value in agreement.items())
    say(f"{out}: {bundle.hash[:12]}, {bundle.model_bytes / 2**20:.1f} MiB, {measured}")


def bench(
    queries: Annotated[int, typer.Option(min=1, help="images to search for")] = 3368,
    gallery: Annotated[int, typer.Option(min=1, help="images to search in")] = 19732,
    dim: Annotated[int, typer.Option(min=1, help="dimensions of a vector")] = 512,
) -> None:
    """Time distances and scores at the size of all of Market-1501, on random vectors."""
    from trainer.evaluate.protocol import synthetic

    seconds, _ = synthetic(queries, gallery, dim)
    say(f"{queries} queries x {gallery} gallery images x {dim} dimensions: {seconds:.2f} s")
