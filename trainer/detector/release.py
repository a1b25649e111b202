"""Gate, bundle and model card of a fine-tuned detector.

scores -> gate -> faults; network.onnx, scores -> ship -> bundle.json, model.onnx, MODEL_CARD.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import openvino

from reid_stream.bundles.bundle import MODEL_FILE, DetectorBundle, Floats, save
from reid_stream.bundles.wrap import wrap_detector
from trainer.detector.evaluation import DetectorScore
from trainer.errors import TrainerError

# A detector that is worse than its teacher by more than this on any set is not shipped.
ALLOWED_LOSS = 0.01
LICENCE = "AGPL-3.0"
# Means over what is seen. bf16 arithmetic, which CPUs that have it serve in, moves scores by 0.006 on pictures
# and single candidates by 0.3; 16 bit weights must stay below that, and the gate measures the very file that ships.
_SCORE_PARITY, _BOX_PARITY_PX = 0.005, 0.5
_SEEN = 0.1  # boxes of weaker candidates do not matter


class GateError(TrainerError):
    """The tuned detector is worse than its teacher; nothing was written."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Provenance of a bundle."""

    name: str
    command: str
    teacher: str
    data: Sequence[str]
    steps: int
    minutes: float


def gate(scores: Sequence[DetectorScore], allowed: float = ALLOWED_LOSS) -> list[str]:
    """Return a line for each set on which ours is worse than allowed; an empty list lets it ship.

    Raises:
        GateError: nothing was measured.
    """
    if not scores:
        raise GateError("a detector must be measured on at least one labelled set, got none; name one with --evaluate")
    return [
        f"{score.name}: AP50 must be at least {score.teacher - allowed:.3f}, found {score.ours:.3f}"
        for score in scores
        if not score.ours >= score.teacher - allowed  # also when it is not a number
    ]


def agree(full: Path, half: Path, batch: Floats) -> tuple[float, float]:
    """Return how far two networks differ where one sees something: mean of scores, and of centres and sides in pixels.

    `batch` is (b, 3, h, w) in [0, 1]; both networks run in float32.
    """
    core = openvino.Core()
    first, second = (
        np.asarray(core.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(batch)[0])
        for path in (full, half)
    )  # each (b, 5, n)
    seen = first[:, 4] >= min(_SEEN, float(first[:, 4].max()))
    difference = np.abs(first - second)
    return float(difference[:, 4][seen].mean()), float(difference[:, :4].max(axis=1)[seen].mean())


def is_parity(difference: tuple[float, float]) -> bool:
    """Whether 16 bit weights may replace 32 bit ones."""
    return difference[0] <= _SCORE_PARITY and difference[1] <= _BOX_PARITY_PX


def ship(candidate: Path, out: Path, scores: Sequence[DetectorScore], origin: Origin) -> DetectorBundle:
    """Write bundle and model card; faults of the gate, if any, are recorded in both."""
    bundle = wrap_detector(
        candidate / MODEL_FILE, out, name=origin.name, height=640, width=640, licence=LICENCE, data=list(origin.data),
        source=origin.command,
    )  # fmt: skip
    metrics: dict[str, float] = {"gate_passed": float(not gate(scores)), "minutes": round(origin.minutes, 1)}
    for score in scores:
        metrics[f"ap50_{score.name}"] = round(score.ours, 4)
        metrics[f"ap50_{score.name}_teacher"] = round(score.teacher, 4)
    bundle = save(msgspec.structs.replace(bundle, metrics=metrics), (candidate / MODEL_FILE).read_bytes(), out)
    (out / "MODEL_CARD.md").write_text(model_card(bundle, scores, origin), encoding="utf-8")
    return bundle


def model_card(bundle: DetectorBundle, scores: Sequence[DetectorScore], origin: Origin) -> str:
    """Return the model card."""
    rows = "\n".join(
        f"| {score.name} | {score.ours:.3f} | {score.teacher:.3f} | {score.pictures} | {score.people} |"
        for score in scores
    )
    data = "\n".join(f"- {item}" for item in origin.data)
    failed = "".join(f"\n**Fails its gate**: {fault}\n" for fault in gate(scores))
    return f"""# {bundle.name}

Finds people in a picture. One class, `person`; RGB from 0 to 1, letterboxed into at most 640 x 640 pixels; output
(b, 5, n): centre, size, score. Decoder `yolo`, suppression at an overlap of {bundle.iou_threshold:g}.
Hash `{bundle.hash}`, {bundle.model_bytes / 1e6:.1f} MB, made {bundle.created}.
{failed}
## Licence

{LICENCE}: derived from YOLO11n of Ultralytics. Who offers it over a network must offer the source as {LICENCE}
requires. The code of reid-stream that runs it is Apache-2.0; a site that cannot accept {LICENCE} serves another bundle
(`reid-stream models wrap`), for example a YOLOX.

## Making

    {origin.command}

Teacher: {origin.teacher}. {origin.steps} steps, {origin.minutes:.1f} minutes with labelling and evaluation. The class
head's person row was kept and fine-tuned with a small learning rate; normalisation statistics stayed the teacher's; the
weights lie between the teacher's and the tuned ones. Learned from:

{data}

## Measured

AP at an overlap of 0.5 (COCO's), at 640 px, through the engine and detector that serve; both models on the same frames.

| set | this | teacher | frames | people |
| --- | --- | --- | --- | --- |
{rows}

None of these sets, nor any other frame of their videos, was learned from.

## Limits

- People under about 16 pixels in the network's picture, in heavy occlusion, lying down, or seen straight from above are
  missed.
- Statues, mannequins, posters and reflections can be detected as people.
- Learned from street, shop and everyday pictures by daylight and indoor light; not measured at night or in infrared.
- It finds people, not who they are, and must not be used to judge them.
"""
