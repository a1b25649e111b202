"""Make a bundle from any ONNX or OpenVINO network; what its file leaves open must be given.

    wrap_embedder / wrap_detector: MODEL.onnx or MODEL.xml -> a folder that `bundle.load` accepts

The network is run in float32 to record the probe. The file is normalised as needed: external weights are included,
float16 inputs and outputs are cast to float32, one output is kept, unusual layouts become `yolo` (`foreign_network`).

Letters: d embedding dimensions, h and w pixels.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from reid_stream.bundles.bundle import (
    MAX_DIM,
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
from reid_stream.bundles.class_names import class_names
from reid_stream.bundles.class_scores import class_scores_reason
from reid_stream.bundles.coco import COCO
from reid_stream.bundles.default_calibration import UNIFORM_WEIGHT, default_calibration
from reid_stream.bundles.detector_layout import LAYOUTS, LayoutMatch, by_picture, by_values, candidates, choose, usual
from reid_stream.bundles.foreign_network import (
    as_onnx,
    as_vectors,
    for_any_batch,
    image_size,
    read_network,
    run_once,
    with_shorter_vectors,
    with_yolo_output,
)
from reid_stream.bundles.input_normalisation import normalisation
from reid_stream.errors import ModelError
from reid_stream.images import decode, read_file

PROBE_SEED = 7
EMBEDDER_TOLERANCE = 0.15
"""Tolerance of the probe: bf16 moves a vector by up to |f1 - f2| = 0.14 (cosine 0.99)."""
DETECTOR_TOLERANCE = 0.05
"""Tolerance of the probe: bf16 moves a box by less than a hundredth of the image."""
_MOST_NUMBERS = 8192
"""Longest vector that is projected; a longer answer is a feature map."""
_PERSONS = frozenset({"person", "pedestrian", "people", "human"})
_B = TypeVar("_B", EmbedderBundle, DetectorBundle)


def wrap(model: Path, out: Path, *, kind: str, **options: Any) -> EmbedderBundle | DetectorBundle:
    """Wrap a network of either kind; see `wrap_embedder` and `wrap_detector` for options and errors."""
    if kind == "embedder":
        return wrap_embedder(model, out, **options)
    if kind == "detector":
        return wrap_detector(model, out, **options)
    raise ModelError(f"kind must be embedder or detector, got {kind!r}")


def wrap_and_log(model: Path, out: Path, options: dict[str, Any]) -> tuple[EmbedderBundle | DetectorBundle, list[str]]:
    """Wrap a network as `wrap` does; return its bundle and the lines that it logged."""
    lines: list[str] = []
    return wrap(model, out, **options, log=lines.append), lines


def wrap_embedder(
    model: Path,
    out: Path,
    *,
    name: str | None = None,
    height: int | None = None,
    width: int | None = None,
    output: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    colour: str | None = None,
    scale: int | None = None,
    licence: str = "unknown",
    data: Sequence[str] = (),
    source: str | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> EmbedderBundle:
    """Wrap a re-ID network, with the default calibration until `reid-train calibrate` replaces it.

    Height and width come from the network where it fixes them, else 256 x 128. Vectors longer than a bundle's are
    projected. ONNX networks take RGB, mean and
    standard deviation of ImageNet; OpenVINO IRs BGR from 0 to 255, as in Open Model Zoo. An IR becomes ONNX where that
    is exact; any other stays one, which OpenVINO alone serves.

    Args:
        model: an ONNX file, or the .xml of an OpenVINO IR beside its .bin.
        out: folder of the bundle.
        name, height, width, output, licence, data, source: as in `wrap_detector`.
        mean: subtracted per channel, in `colour` order and in the unit of `scale`.
        std: divides each channel afterwards.
        colour: `rgb` or `bgr`.
        scale: pixel values run to 1 or 255; default: 255 where a mean or std is above 1, else 1.
        log: called with a line on what was changed.

    Raises:
        ModelError: the file is not a network of one image input and one vector output; or it has several outputs, or
            one that looks like class scores, and `output` names none.
    """
    read = read_network(model, output)
    if read.weights is not None:
        colour, scale = colour or "bgr", scale or 255
        read = as_onnx(read, log)
    found = image_size(read.network, model)
    means, stds = normalisation(mean, std, scale)
    spec = EmbedderInput(
        height=_agree("height", height, found[0], 256, model),
        width=_agree("width", width, found[1], 128, model),
        mean=means,
        std=stds,
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
        verifier=Verifier(d=[1.0], b=UNIFORM_WEIGHT, train_prior=0.5),
        calibration=default_calibration(),
    )
    vector = run_once(read.network, probe_input(bundle), model)
    if vector.ndim > 2 and vector.shape[0] == 1 and vector.size == max(vector.shape):
        read, vector = as_vectors(read, vector.size), vector.reshape(1, -1)
    read = for_any_batch(read, (spec.height, spec.width))
    if vector.ndim != 2 or vector.shape[0] != 1:
        raise ModelError(f"a re-ID network must give (b, d) vectors, {model} gives {vector.shape} for one crop")
    dim = vector.shape[1]
    names = sorted(read.network.outputs[0].get_names())
    if output is None and (reason := class_scores_reason(vector, names)) is not None:
        raise ModelError(
            f"an embedder must give a vector, output {' '.join(names)} of {model} looks like class scores: {reason}; "
            "export the network without its classifier, or name the output with --output to take it nevertheless"
        )
    if dim > _MOST_NUMBERS:
        raise ModelError(
            f"an embedder must give at most {_MOST_NUMBERS} numbers, {model} gives {dim}; export its vector"
        )
    if dim > MAX_DIM:
        read = with_shorter_vectors(read, dim, MAX_DIM)
        log(
            f"{dim} numbers are projected to {MAX_DIM}, the most of a bundle; cosines scatter by about "
            f"{(1 / MAX_DIM - 1 / dim) ** 0.5:.2f}; a projection learned on pictures and exported along keeps more"
        )
        vector, dim = run_once(read.network, probe_input(bundle), model), MAX_DIM
    verifier = Verifier(d=[UNIFORM_WEIGHT**0.5] * dim, b=UNIFORM_WEIGHT, train_prior=0.5)
    made = with_probe(msgspec.structs.replace(bundle, dim=dim, verifier=verifier), vector)
    return save(made, read.content, out, read.weights)


def wrap_detector(
    model: Path,
    out: Path,
    *,
    name: str | None = None,
    height: int | None = None,
    width: int | None = None,
    output: str | None = None,
    decoder: str | None = None,
    classes: Sequence[str] | None = None,
    person: int | None = None,
    picture: Path | None = None,
    colour: str | None = None,
    scale: int | None = None,
    pad: int = 114,
    iou_threshold: float = 0.7,
    licence: str = "unknown",
    data: Sequence[str] = (),
    source: str | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> DetectorBundle:
    """Wrap a detection network; options not given are derived from its shapes and metadata.

    YOLOX takes BGR from 0 to 255, all others RGB from 0 to 1. Class names come from the metadata `names` written by
    ultralytics; without it, one class is taken for person, eighty for COCO's. Other layouts (see `detector_layout`) are
    converted to `yolo`.

    Args:
        model: an ONNX file, or the .xml of an OpenVINO IR beside its .bin, which OpenVINO alone serves.
        out: folder of the bundle.
        name: display name; default: that of the file.
        height: of the input in pixels, where the network accepts any.
        width: of the input in pixels, where the network accepts any.
        output: name of the output to use, where there are several.
        decoder: layout of the output, one of `detector_layout.LAYOUTS`.
        classes: class names in the network's order.
        person: index of the class person.
        picture: image that shows whole people; decides between layouts of one shape.
        colour: `rgb` or `bgr`.
        scale: largest pixel value, 1 or 255.
        pad: grey value of the padding, out of 255.
        iou_threshold: overlap of two boxes (IoU) above which the one of lower score is dropped.
        licence: of the weights.
        data: training data.
        source: origin of the network.
        log: called with a line on how the output is read.

    Raises:
        ModelError: layout, classes, person class or output are ambiguous and must be given.
    """
    read = read_network(model, output, is_detector=True)
    found = image_size(read.network, model)
    size = (_agree("height", height, found[0], 640, model), _agree("width", width, found[1], 640, model))
    answer = run_once(read.network, np.full((1, 3, *size), 0.5, dtype=np.float32), model)
    names = list(classes or class_names(read.network, model))
    matching = _layouts(decoder, answer.shape, size, len(names) or None, is_joined=read.is_joined)
    matching = by_values(matching, answer[0], size) if matching else []
    matching = matching if names else usual(matching)
    known = _person_index(names, person, model) if names else person or 0
    layout = _layout_by_picture(matching, read.network, model, answer.shape, size, picture, known)
    names = names or list(_customary_names(layout, person, model))
    index = _person_index(names, person, model)
    log(f"output read as {layout.words}{', of two outputs' if read.is_joined else ''}; person is class {index}")
    served = layout.layout
    if not layout.is_served:
        read, served = with_yolo_output(read, layout, size, len(names)), "yolo"
        answer = run_once(read.network, np.full((1, 3, *size), 0.5, dtype=np.float32), model)
    read = for_any_batch(read, size)
    is_yolox = served == "yolox"
    raw: dict[str, Any] = {
        "kind": "detector",
        "name": name or model.stem,
        "created": now(),
        "licence": licence,
        "data": list(data),
        "source": source or model.name,
        "probe": {"seed": PROBE_SEED, "shape": list(answer.shape), "output": [], "tolerance": DETECTOR_TOLERANCE},
        "input": {
            "height": size[0],
            "width": size[1],
            "colour": colour or ("bgr" if is_yolox else "rgb"),
            "scale": scale or (255 if is_yolox else 1),
            "pad": pad,
        },
        "decoder": served,
        "classes": names,
        "person": index,
        "iou_threshold": iou_threshold,
    }
    try:
        bundle = msgspec.convert(raw, DetectorBundle)
    except msgspec.ValidationError as error:
        raise ModelError(f"{model} cannot be wrapped: {error}") from error
    made = with_probe(bundle, run_once(read.network, probe_input(bundle), model))
    return save(made, read.content, out, read.weights)


def _layouts(
    decoder: str | None, shape: tuple[int, ...], size: tuple[int, int], count: int | None, *, is_joined: bool
) -> list[LayoutMatch]:
    """Return the layout given, else all that match the shape and the number of classes."""
    if decoder is None:
        return candidates(shape, size, count, is_joined=is_joined)
    if decoder not in LAYOUTS:
        raise ModelError(f"--decoder must be one of {', '.join(LAYOUTS)}, got {decoder!r}")
    columns = shape[-1] if decoder != "yolo" and len(shape) == 3 else shape[1] if len(shape) == 3 else 0
    own = None if decoder == "yolo_end2end" else columns - (5 if decoder in ("yolox", "yolov5") else 4)
    if len(shape) != 3 or (own is not None and (own < 1 or count not in (None, own))) or (own is None and columns != 6):
        raise ModelError(
            f"a detector of layout {decoder} with {count or 'any number of'} classes cannot give {shape}; give another "
            "--decoder, or the right --classes"
        )
    return [LayoutMatch(decoder, own)]


def _layout_by_picture(
    found: list[LayoutMatch],
    network: Any,
    model: Path,
    shape: tuple[int, ...],
    size: tuple[int, int],
    picture: Path | None,
    person: int,
) -> LayoutMatch:
    """Return the one layout, or that by which people are found in an image, in each layout's colours and scale."""
    if picture is None or not found:
        return choose(found, shape, size)
    import cv2

    try:
        image = decode(read_file(picture))[..., ::-1]
    except (OSError, ValueError) as error:
        raise ModelError(f"--picture must be an image, {picture} {error}") from error
    ratio = min(size[0] / image.shape[0], size[1] / image.shape[1])
    inside = cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)[: size[0], : size[1]]
    canvas = np.full((*size, 3), 114, np.float32)
    canvas[: inside.shape[0], : inside.shape[1]] = inside
    bgr = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], dtype=np.float32)
    rgb = np.ascontiguousarray(bgr[:, ::-1]) / np.float32(255)
    right: list[LayoutMatch] = []
    for batch, group in (
        (bgr, [each for each in found if each.layout == "yolox"]),
        (rgb, [each for each in found if each.layout != "yolox"]),
    ):
        if group:
            right += by_picture(group, run_once(network, batch, model)[0], size, person)
    if not right:
        raise ModelError(
            f"people must be found in {picture}, none are under any of the layouts that fit; give another --picture, "
            f"or --decoder: {', '.join(each.layout for each in found)}"
        )
    return choose(right, shape, size)


def _customary_names(layout: LayoutMatch, person: int | None, model: Path) -> Sequence[str]:
    """Return the default class names of a network that states none: person for one class, COCO's for eighty.

    Of other numbers, the index of the class person must be given; the others are numbered.
    """
    if layout.classes == 1:
        return ("person",)
    if layout.classes in (None, len(COCO)):
        return COCO
    if person is not None and 0 <= person < layout.classes:
        return [("person" if index == person else f"class{index}") for index in range(layout.classes)]
    raise ModelError(
        f"the {layout.classes} classes of {model} must be named, in the network's order, as --classes person,car,..., "
        "or the number of the class of people be given as --person"
    )


def _person_index(names: Sequence[str], asked: int | None, model: Path) -> int:
    if asked is not None:
        if not 0 <= asked < len(names):
            raise ModelError(f"--person must be below {len(names)}, the number of classes of {model}, got {asked}")
        return asked
    found = [index for index, name in enumerate(names) if name.strip().lower() in _PERSONS]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{index} {name}" for index, name in enumerate(names[:20]))
    raise ModelError(f"which class of {model} is a person must be given with --person; its classes: {listed}")


def with_probe(bundle: _B, output: Floats) -> _B:
    """Return the bundle with `output` as the expected output of its probe."""
    probe = msgspec.structs.replace(bundle.probe, shape=list(output.shape), output=probe_of(bundle, output))
    return msgspec.structs.replace(bundle, probe=probe)


def now() -> str:
    """Return the current time for `created`, UTC to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _agree(side: str, asked: int | None, found: int | None, customary: int, model: Path) -> int:
    if asked is not None and found is not None and asked != found:
        raise ModelError(f"{side} must be {found}, which {model} fixes, got {asked}; leave it out")
    return asked or found or customary
