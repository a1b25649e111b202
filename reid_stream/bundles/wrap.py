"""Any ONNX network -> a bundle: shapes are read from the network, the rest is asked for or has a customary value.

    wrap_embedder / wrap_detector: MODEL.onnx -> a folder that `bundle.load` accepts

The network is run once, in float32, to record the probe. Use this for networks made elsewhere; networks of `reid-train`
are exported with their own verifier and calibration.

Letters: d embedding dimensions, h and w pixels.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from reid_stream.bundles.bundle import (
    Calibration,
    DetectorBundle,
    EmbedderBundle,
    EmbedderInput,
    Floats,
    Probe,
    Verifier,
    probe_input,
    probe_of,
    save,
)
from reid_stream.errors import ModelError

COCO = (
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "fire hydrant",
    "stop sign",
    "parking meter",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "backpack",
    "umbrella",
    "handbag",
    "tie",
    "suitcase",
    "frisbee",
    "skis",
    "snowboard",
    "sports ball",
    "kite",
    "baseball bat",
    "baseball glove",
    "skateboard",
    "surfboard",
    "tennis racket",
    "bottle",
    "wine glass",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "dining table",
    "toilet",
    "tv",
    "laptop",
    "mouse",
    "remote",
    "keyboard",
    "cell phone",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
    "scissors",
    "teddy bear",
    "hair drier",
    "toothbrush",
)
PROBE_SEED = 7
# bf16 moves an embedding by up to |f1 - f2| = 0.14 (cosine 0.99) and a box by under a hundredth of the picture.
EMBEDDER_TOLERANCE = 0.15
DETECTOR_TOLERANCE = 0.05
_STRIDES = (8, 16, 32)
_B = TypeVar("_B", EmbedderBundle, DetectorBundle)
# Without a trained head all dimensions weigh the same: margin = 10 (2 cos - 1), even odds at a cosine of one half.
_UNIFORM_WEIGHT = 10.0


def wrap(model: Path, out: Path, *, kind: str, **options: Any) -> EmbedderBundle | DetectorBundle:
    """Wrap a network of either kind; see `wrap_embedder` and `wrap_detector` for the options."""
    if kind == "embedder":
        return wrap_embedder(model, out, **options)
    if kind == "detector":
        return wrap_detector(model, out, **options)
    raise ModelError(f"kind must be embedder or detector, got {kind!r}")


def wrap_embedder(
    model: Path,
    out: Path,
    *,
    name: str | None = None,
    height: int | None = None,
    width: int | None = None,
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
    std: tuple[float, float, float] = (0.229, 0.224, 0.225),
    colour: str = "rgb",
    licence: str = "unknown",
    data: Sequence[str] = (),
    source: str | None = None,
) -> EmbedderBundle:
    """Wrap a re-ID network; its vectors are compared by cosine until `reid-train calibrate` has seen site data.

    Height and width come from the network where it fixes them, else 256 x 128.

    Raises:
        ModelError: the file is no network of one image input and one vector output.
    """
    content, network = _read(model)
    found = _image_size(network, model)
    spec = EmbedderInput(
        height=_agree("height", height, found[0], 256, model),
        width=_agree("width", width, found[1], 128, model),
        mean=mean,
        std=std,
        colour="bgr" if colour == "bgr" else "rgb",
    )
    bundle = EmbedderBundle(
        name=name or model.stem,
        created=now(),
        licence=licence,
        data=list(data),
        source=source or model.name,
        probe=Probe(seed=PROBE_SEED, shape=[], output=[], tolerance=EMBEDDER_TOLERANCE),
        input=spec,
        dim=1,
        verifier=Verifier(d=[1.0], b=_UNIFORM_WEIGHT, train_prior=0.5),
        calibration=Calibration(kind="none", parameters={}),
    )
    output = run_once(network, probe_input(bundle), model)
    if output.ndim != 2 or output.shape[0] != 1:
        raise ModelError(f"a re-ID network must give (b, d) vectors, {model} gives {output.shape} for one crop")
    dim = output.shape[1]
    verifier = Verifier(d=[_UNIFORM_WEIGHT**0.5] * dim, b=_UNIFORM_WEIGHT, train_prior=0.5)
    return save(with_probe(msgspec.structs.replace(bundle, dim=dim, verifier=verifier), output), content, out)


def wrap_detector(
    model: Path,
    out: Path,
    *,
    name: str | None = None,
    height: int | None = None,
    width: int | None = None,
    decoder: str | None = None,
    classes: Sequence[str] | None = None,
    person: int | None = None,
    colour: str | None = None,
    scale: int | None = None,
    pad: int = 114,
    score_threshold: float = 0.25,
    iou_threshold: float = 0.7,
    licence: str = "unknown",
    data: Sequence[str] = (),
    source: str | None = None,
) -> DetectorBundle:
    """Wrap a detection network; what is not given is guessed from its shapes.

    YOLOX takes BGR from 0 to 255, the ultralytics family RGB from 0 to 1. One class is a person, eighty are COCO's.

    Raises:
        ModelError: the output is of no known decoder, or the classes cannot be told.
    """
    content, network = _read(model)
    found = _image_size(network, model)
    size = (_agree("height", height, found[0], 640, model), _agree("width", width, found[1], 640, model))
    output = run_once(network, np.full((1, 3, *size), 0.5, dtype=np.float32), model)
    decoder = decoder or guess_decoder(output.shape, size)
    names = list(classes or _guess_classes(decoder, output.shape, model))
    is_yolox = decoder == "yolox"
    raw: dict[str, Any] = {
        "kind": "detector",
        "name": name or model.stem,
        "created": now(),
        "licence": licence,
        "data": list(data),
        "source": source or model.name,
        "probe": {"seed": PROBE_SEED, "shape": list(output.shape), "output": [], "tolerance": DETECTOR_TOLERANCE},
        "input": {
            "height": size[0],
            "width": size[1],
            "colour": colour or ("bgr" if is_yolox else "rgb"),
            "scale": scale or (255 if is_yolox else 1),
            "pad": pad,
        },
        "decoder": decoder,
        "classes": names,
        "person": names.index("person") if person is None and "person" in names else person or 0,
        "score_threshold": score_threshold,
        "iou_threshold": iou_threshold,
    }
    try:
        bundle = msgspec.convert(raw, DetectorBundle)
    except msgspec.ValidationError as error:
        raise ModelError(f"{model} cannot be wrapped: {error}") from error
    return save(with_probe(bundle, run_once(network, probe_input(bundle), model)), content, out)


def guess_decoder(shape: tuple[int, ...], size: tuple[int, int]) -> str:
    """Name the decoder of a detector's output, for one picture of `size` (h, w).

    Raises:
        ModelError: no known decoder gives this shape.
    """
    cells = sum(-(-size[0] // stride) * -(-size[1] // stride) for stride in _STRIDES)
    if len(shape) == 3 and shape[0] == 1:
        if shape[2] == cells and shape[1] >= 5:
            return "yolo"
        if shape[1] == cells and shape[2] >= 6:
            return "yolox"
        if shape[2] == 6:
            return "yolo_end2end"
    raise ModelError(
        f"a detector must give (1, 4 + classes, {cells}), (1, {cells}, 5 + classes) or (1, n, 6) for one picture of "
        f"{size[0]} x {size[1]}, got {shape}; export it without post-processing, or name the right size"
    )


def with_probe(bundle: _B, output: Floats) -> _B:
    """Return the bundle with `output` as the expected answer to its probe."""
    probe = msgspec.structs.replace(bundle.probe, shape=list(output.shape), output=probe_of(bundle, output))
    return msgspec.structs.replace(bundle, probe=probe)


def now() -> str:
    """Return the time for `created`, UTC to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def run_once(network: Any, batch: Floats, model: Path) -> Floats:
    """Run an OpenVINO network in float32 and return its first output."""
    import openvino  # heavy: half a second

    try:
        compiled = openvino.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return np.array(compiled(batch)[0], dtype=np.float32)
    except RuntimeError as error:
        raise ModelError(f"{model} must run on input {batch.shape}: {_first_line(error)}") from error


def _read(model: Path) -> tuple[bytes, Any]:
    """Return a model file and the network in it."""
    import openvino  # heavy: half a second

    try:
        content = model.read_bytes()
    except OSError as error:
        raise ModelError(f"a network must be readable, {model}: {error.strerror or error}") from error
    if not content:
        raise ModelError(f"a network must not be empty, {model} has 0 bytes; copy or export it again")
    try:
        return content, openvino.Core().read_model(content)
    except RuntimeError as error:
        raise ModelError(
            f"a network must be ONNX in one file, {model} is not: {_first_line(error)}; export it again"
        ) from error


def _image_size(network: Any, model: Path) -> tuple[int | None, int | None]:
    """Return the input's height and width, None where the network takes any."""
    inputs = network.inputs
    shape = inputs[0].partial_shape if len(inputs) == 1 else None
    if (
        shape is None
        or shape.rank.is_dynamic
        or len(shape) != 4
        or not (shape[1].is_dynamic or shape[1].get_length() == 3)
    ):
        found = ", ".join(str(item.partial_shape) for item in inputs)
        raise ModelError(f"a network must have one input (b, 3, h, w), {model} has {found}")
    height, width = (None if side.is_dynamic else side.get_length() for side in (shape[2], shape[3]))
    return height, width


def _agree(side: str, asked: int | None, found: int | None, customary: int, model: Path) -> int:
    if asked is not None and found is not None and asked != found:
        raise ModelError(f"{side} must be {found}, which {model} fixes, got {asked}; leave it out")
    return asked or found or customary


def _guess_classes(decoder: str, shape: tuple[int, ...], model: Path) -> Sequence[str]:
    count = {"yolo": shape[1] - 4, "yolox": shape[-1] - 5}.get(decoder)
    if count is None or count == len(COCO):
        return COCO
    if count == 1:
        return ("person",)
    raise ModelError(f"the {count} classes of {model} must be named, in the network's order; give them with --classes")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Check" not in line and "Exception" not in line), "unknown reason")
