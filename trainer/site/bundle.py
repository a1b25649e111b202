"""Export a site's checkpoint as a bundle, calibrated on the held-out people of that site."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from reid_stream.bundles.bundle import update
from trainer.evaluate.calibration_fit import fit, pairs_of
from trainer.evaluate.impostor_curve import with_strangers
from trainer.evaluate.network import open_network
from trainer.export import model_card
from trainer.export.bundle import export
from trainer.site.gate import Judged


def export_calibrated(
    checkpoint: Path, folder: Path, judged: Judged, truth: str, threads: int | None, log: Callable[[str], None]
) -> Path:
    """Write the bundle of a checkpoint into `folder` and calibrate it.

    The curve of strangers is measured on pairs with a held-out person in them: two nameless tracks may be one person.

    Raises:
        TrainerError: the exported network disagrees with the checkpoint, or nothing can be calibrated.
    """
    bundle, _ = export(checkpoint, folder, "f16")
    network = open_network(folder, threads=threads)
    images = judged.images
    vectors = network.embed(images.pixels, False)
    pairs = pairs_of(vectors, images.persons, images.cameras, network.verifier)
    fitted = fit(pairs, network.precision, f"the site's held-out people ({truth})")
    calibration = with_strangers(fitted, vectors, images.persons, images.cameras, network.verifier, known=judged.known)
    log(f"calibrated at {calibration.at_precision}: {calibration.kind}, {calibration.fitted_on}")
    changed = msgspec.structs.replace(bundle, calibration=calibration)
    model_card.write(update(changed, folder), folder)
    return folder
