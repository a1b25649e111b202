"""MODEL_CARD.md of a bundle: data, training, figures, licence, limits."""

from pathlib import Path

from reid_stream.bundles.bundle import BUNDLE_FILE, EmbedderBundle, load_embedder, update

CARD_FILE = "MODEL_CARD.md"


def write(bundle: EmbedderBundle, folder: Path) -> None:
    """Write the card of a bundle next to it; everything in it comes from bundle.json."""
    spec, calibration = bundle.input, bundle.calibration
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in sorted(bundle.metrics.items())) or "| none yet | |"
    fitted = f" at {calibration.at_precision}, on {calibration.fitted_on}" if calibration.kind != "none" else ""
    text = f"""# {bundle.name}

Person re-identification: a crop of one pedestrian becomes a vector; the vectors of two crops give P(same person).

- hash: `{bundle.hash}`
- made: {bundle.created}
- source: {bundle.source}
- data: {", ".join(bundle.data) or "not stated"}
- input: {spec.height} x {spec.width} pixels, {spec.colour.upper()}, mean {spec.mean}, std {spec.std}
- output: {bundle.dim} numbers, to be brought to unit length
- verification head: trained at a share of {bundle.verifier.train_prior:.2f} same-person pairs, folded into the vectors
- calibration: {calibration.kind}{fitted}
- size: {bundle.model_bytes / 2**20:.1f} MiB

## Measured

`set.ranking.figure`; Rank-1 and mAP (step) under the Market-1501 protocol, DIR: share of enrolled persons named rightly
at that false alarm rate, ECE and Brier of P(same) at that share of same-person pairs, P@FMR: P(same) at even odds that
different persons reach at that false match rate on the validation persons.

| figure | value |
| --- | --- |
{rows}

## Licence

{bundle.licence}

## Limits

- It learned from the data named above and no other place: expect less on other cameras, light and clothing, and
  calibrate again on the site (`reid-train calibrate`).
- It goes by clothing, not by faces: who changes clothes is another person to it, and two in uniform may be one.
- Small (below 40 pixels in height), cut or hidden crops give vectors of little worth.
- Its figures are averages over students and shoppers of a few public sets; how they differ between groups of people is
  not known. No decision about a person should rest on it alone.
"""
    (folder / CARD_FILE).write_text(text, encoding="utf-8")


def record(folder: Path, metrics: dict[str, float]) -> EmbedderBundle:
    """Add measured figures to a bundle and its card; the hash stays, because figures change no decision."""
    import msgspec

    bundle = load_embedder(folder)
    kept = update(msgspec.structs.replace(bundle, metrics=bundle.metrics | metrics), folder)
    assert kept.hash == bundle.hash, f"{folder / BUNDLE_FILE}: recording figures must not change the hash"
    write(kept, folder)
    return kept
