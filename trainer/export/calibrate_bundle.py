"""Bundle + persons not trained on -> the same bundle with a calibration, its figures and a reliability plot."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from reid_stream.bundles.bundle import MODEL_FILE, load_embedder, save
from reid_stream.errors import ModelError
from trainer.data.crops import Images
from trainer.data.test_sets import read_test_set
from trainer.errors import TrainerError
from trainer.evaluate.calibration_fit import cross_validated, fit, measure, pairs_of, thresholds
from trainer.evaluate.impostor_curve import with_strangers
from trainer.evaluate.network import TrainedNetwork, open_network
from trainer.evaluate.retrieval import Floats
from trainer.export import model_card

PLOT_FILE = "reliability.png"
# One same-person pair in two, and in a hundred and one: a gallery of a hundred others.
PRIORS = {"1:1": 1 / 2, "1:100": 1 / 101}


def run(
    folder: Path, fit_set: str, test_set: str | None, data: Path | None, precision: str, threads: int | None
) -> Iterator[str]:
    """Calibrate a bundle in place and yield what is worth telling.

    Raises:
        TrainerError: no bundle, or no pairs to learn from.
    """
    try:
        bundle = load_embedder(folder)
    except ModelError as error:
        raise TrainerError(str(error)) from error
    network = open_network(folder, precision, threads)
    images, vectors = _vectors(network, fit_set, data)
    pairs = pairs_of(vectors, images.persons, images.cameras, network.verifier)
    losses = cross_validated(pairs)
    yield "log loss on held-out persons: " + ", ".join(f"{kind} {value:.4f}" for kind, value in losses.items())
    calibration = with_strangers(
        fit(pairs, network.precision, fit_set), vectors, images.persons, images.cameras, network.verifier
    )
    yield f"{calibration.kind} at {calibration.at_precision}, {calibration.fitted_on}"
    figures = {f"{fit_set}.{name}": value for name, value in thresholds(calibration, pairs).items()}
    if test_set is not None:
        from trainer.evaluate import plots

        shown, seen = _vectors(network, test_set, data)
        tested, curves = pairs_of(seen, shown.persons, shown.cameras, network.verifier), []
        for name, prior in PRIORS.items():
            numbers, bins = measure(calibration, tested, prior)
            figures |= {f"{test_set}.{key}@{name}": value for key, value in numbers.items()}
            curves.append((f"{test_set} {name}", bins))
        plots.reliability(curves, folder / PLOT_FILE)
    yield from (f"{name} {value:.4f}" for name, value in figures.items())
    changed = msgspec.structs.replace(bundle, calibration=calibration, metrics=bundle.metrics | figures)
    saved = save(changed, (folder / MODEL_FILE).read_bytes(), folder)
    model_card.write(saved, folder)
    yield f"{folder}: {saved.hash[:12]}"


def _vectors(network: TrainedNetwork, name: str, data: Path | None) -> tuple[Images, Floats]:
    images = read_test_set(name, data, network.spec).images
    return images, network.embed(images.pixels, False)
