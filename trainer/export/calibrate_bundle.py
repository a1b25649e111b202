"""Calibrate a bundle on persons not trained on, with figures and a reliability plot."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from reid_stream.bundles.bundle import load_embedder, update
from reid_stream.errors import ModelError
from trainer.data.crops import Images
from trainer.data.test_sets import check_test_sets, read_test_set
from trainer.errors import TrainerError
from trainer.evaluate.calibration_fit import cross_validated, fit, measure, pairs_of, pooled, thresholds
from trainer.evaluate.impostor_curve import obtained_rates, stranger_margins, with_curve
from trainer.evaluate.network import TrainedNetwork, open_network
from trainer.evaluate.retrieval import Floats
from trainer.export import model_card

PLOT_FILE = "reliability.png"
# Shares of same-person pairs: 1 in 2, and 1 in 101, as in a gallery with a hundred others.
PRIORS = {"1:1": 1 / 2, "1:100": 1 / 101}


def run(
    folder: Path,
    fit_sets: Sequence[str],
    test_set: str | None,
    data: Path | None,
    precision: str,
    threads: int | None,
    strangers: Sequence[str] = (),
) -> Iterator[str]:
    """Calibrate a bundle in place and yield lines to show.

    Args:
        folder: of the bundle.
        fit_sets: persons that were not trained on; each set counts as much, however large.
        test_set: where ECE and Brier score are measured.
        data: folder of the public sets.
        precision: of the network, as served.
        threads: CPU threads.
        strangers: sets on which the curve is tried: false-match rates asked for and obtained.

    Raises:
        TrainerError: no bundle, or no pairs to learn from.
    """
    try:
        bundle = load_embedder(folder)
    except ModelError as error:
        raise TrainerError(str(error)) from error
    network = open_network(folder, precision, threads)
    check_test_sets([*fit_sets[1:], *([] if test_set is None else [test_set]), *strangers], data)
    read = [_vectors(network, name, data) for name in fit_sets]
    pairs = pooled([pairs_of(vectors, images.persons, images.cameras, network.verifier) for images, vectors in read])
    losses = cross_validated(pairs)
    yield "log loss on held-out persons: " + ", ".join(f"{kind} {value:.4f}" for kind, value in losses.items())
    calibration = with_curve(
        fit(pairs, network.precision, " + ".join(fit_sets)),
        [stranger_margins(vectors, images.persons, images.cameras, network.verifier) for images, vectors in read],
    )
    yield f"{calibration.kind} at {calibration.at_precision}, {calibration.fitted_on}"
    label = "+".join(fit_sets)
    figures = {f"{label}.{name}": value for name, value in thresholds(calibration, pairs).items()}
    if test_set is not None:
        from trainer.evaluate import plots

        shown, seen = _vectors(network, test_set, data)
        tested, curves = pairs_of(seen, shown.persons, shown.cameras, network.verifier), []
        for name, prior in PRIORS.items():
            numbers, bins = measure(calibration, tested, prior)
            figures |= {f"{test_set}.{key}@{name}": value for key, value in numbers.items()}
            curves.append((f"{test_set} {name}", bins))
        plots.reliability(curves, folder / PLOT_FILE)
    for name in strangers:
        shown, seen = _vectors(network, name, data)
        margins = stranger_margins(seen, shown.persons, shown.cameras, network.verifier)
        figures |= {f"{name}.FMR@{rate:g}": found for rate, found in obtained_rates(calibration, margins)}
    yield from (f"{name} {value:.4g}" for name, value in figures.items())
    changed = msgspec.structs.replace(bundle, calibration=calibration, metrics=bundle.metrics | figures)
    saved = update(changed, folder)
    model_card.write(saved, folder)
    yield f"{folder}: {saved.hash[:12]}"


def _vectors(network: TrainedNetwork, name: str, data: Path | None) -> tuple[Images, Floats]:
    images = read_test_set(name, data, network.spec).images
    return images, network.embed(images.pixels, False)
