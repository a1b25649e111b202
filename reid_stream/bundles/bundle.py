"""Schema, loading and verification of model bundles: a folder with `bundle.json` and a network.

    folder -> load -> Embedder | Detector -> (an engine runs the network) -> check_probe

The network is `model.onnx`, or an OpenVINO IR, see `network_file`.

A bundle is never half-read: the schema, every field, the model file's size and the hash are checked before anything is
run, and one probe input with its expected output is checked after the engine is built. Every stored vector names the
hash of the bundle that made it, so a change of anything that changes vectors or their meaning changes the hash.

Letters: d embedding dimensions, h and w pixels.
"""

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from reid_stream.bundles.network_file import (
    IR_FILE,
    ONNX_FILE,
    is_openvino_only,
    network_file,
    read_network,
    write_network,
)
from reid_stream.bundles.onnx_file import external_files
from reid_stream.errors import ModelError

Floats = npt.NDArray[np.float32]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Inside = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Pixels = Annotated[int, msgspec.Meta(ge=1, le=8192)]
Channels = tuple[float, float, float]

SCHEMA = 1
BUNDLE_FILE = "bundle.json"
MODEL_FILE = ONNX_FILE
MAX_DIM = 512
# Descriptive fields, which change neither vectors nor decisions.
_NOT_SERVED = ("name", "hash", "created", "licence", "data", "metrics", "source")
_PROBE_BLOCK_PX = 8


class EmbedderInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a re-ID network expects of a crop; the fields of `embed.preprocess.InputSpec`."""

    height: Pixels
    """Pixels."""
    width: Pixels
    """Pixels."""
    mean: Channels = (0.485, 0.456, 0.406)
    """Subtracted per channel, in [0, 1], in `colour` order."""
    std: Channels = (0.229, 0.224, 0.225)
    """Divides each channel afterwards."""
    colour: Literal["rgb", "bgr"] = "rgb"
    """Channel order of the network."""


class Verifier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The verification head, folded into the vectors: margin = b - |d f1 - d f2|^2 on unit vectors f."""

    d: list[float]
    """(d,), factors at least 0; sqrt(softplus(v)) of the trained head, so an L2 search over d f gives its ranking."""
    b: float
    """Margin of two equal vectors."""
    train_prior: Inside
    """Share of same-person pairs in the head's training."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a margin becomes P(same); see reid_stream/calibration.py."""

    kind: Literal["platt", "isotonic", "none"]
    """`platt`: slope, intercept; `isotonic`: margin, probability (rising); `none`: the margin is the log odds."""
    parameters: dict[str, float | list[float]]
    """Of that kind."""
    prior: Inside = 0.5
    """Share of same-person pairs it was fitted on; serving corrects it to its own."""
    at_precision: Literal["f32", "f16", "bf16", "int8"] = "f32"
    """Arithmetic of the engine whose vectors it was fitted on."""
    fitted_on: str = ""
    """Data, persons and pairs, in words."""
    stranger_rates: list[Inside] = []
    """False-match rates, falling, at which `stranger_log_odds` was measured on strangers; none for no curve."""
    stranger_log_odds: list[float] = []
    """Log likelihood ratio, rising, that pairs of strangers exceed with each rate."""


class DetectorInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a frame becomes the network's input: letterboxed, padded, scaled."""

    height: Pixels
    """Pixels of the letterbox."""
    width: Pixels
    """Pixels of the letterbox."""
    colour: Literal["rgb", "bgr"] = "rgb"
    """Channel order of the network."""
    scale: Literal[1, 255] = 1
    """Pixel values run from 0 to this."""
    pad: Annotated[int, msgspec.Meta(ge=0, le=255)] = 114
    """Grey value around the picture, out of 255."""


class Probe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One input, made from a seed, and what the network must answer."""

    seed: Annotated[int, msgspec.Meta(ge=0)]
    """Of `probe_input`."""
    shape: list[int]
    """Of the whole output, for a batch of one."""
    output: list[float]
    """Values at evenly spaced places of the flattened output; an embedder's whole vector at unit length."""
    tolerance: Annotated[float, msgspec.Meta(gt=0)]
    """Largest |found - expected| / |expected|; wide enough for bf16."""


class _Bundle(msgspec.Struct, tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What both kinds share."""

    schema: int = SCHEMA
    """Of bundle.json."""
    name: str
    """For people."""
    hash: str = ""
    """sha256 of the network and of everything that serving depends on; set by `save`."""
    created: str
    """UTC, ISO 8601."""
    licence: str
    """Of the weights, not of this code."""
    data: list[str]
    """What it learned from."""
    metrics: dict[str, float] = {}
    """Measured when it was made."""
    source: str
    """Command, repository or file that it came from."""
    model_bytes: int = 0
    """Size of the network; tells a truncated file from an altered one. Set by `save`."""
    probe: Probe
    """Tells a network that runs from one that runs rightly."""


class EmbedderBundle(_Bundle, tag="embedder", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Crops -> vectors, and what a difference of two vectors means."""

    kind: ClassVar[str] = "embedder"
    input: EmbedderInput
    dim: Annotated[int, msgspec.Meta(ge=1, le=MAX_DIM)]
    """Length of a vector."""
    verifier: Verifier
    calibration: Calibration

    @property
    def calibrated(self) -> Calibration | None:
        """The calibration, none where the bundle has none."""
        return None if self.calibration.kind == "none" else self.calibration


class DetectorBundle(_Bundle, tag="detector", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frames -> boxes of persons."""

    kind: ClassVar[str] = "detector"
    input: DetectorInput
    decoder: Literal["yolo", "yolo_end2end", "yolox"]
    """(4 + classes, n) centre boxes; (n, 6) corner boxes, score, class, after NMS; (n, 5 + classes) per grid cell."""
    classes: list[str]
    """Names in the order of the network's output."""
    person: Annotated[int, msgspec.Meta(ge=0)]
    """Which of them is a person."""
    score_threshold: Share | msgspec.UnsetType = msgspec.UNSET
    """Not used; read, and kept in the hash, where an older bundle has it. See `detect.score` in cams.yaml."""
    iou_threshold: Share = 0.7
    """Of two boxes that overlap more, the lower score is dropped."""


Bundle = EmbedderBundle | DetectorBundle
_B = TypeVar("_B", EmbedderBundle, DetectorBundle)


def load(folder: Path) -> Bundle:
    """Read and check a bundle; the network itself is not run (see `check_probe`).

    Raises:
        ModelError: a file is missing, empty, half-copied or altered, or a field is wrong.
    """
    text = _read(folder / BUNDLE_FILE, "a bundle is a folder with bundle.json and model.onnx")
    bundle = _parse(text, folder / BUNDLE_FILE)
    _check_fields(bundle, folder / BUNDLE_FILE)
    model, file = read_network(folder), network_file(folder)
    if len(model) != bundle.model_bytes:
        raise ModelError(
            f"{file} must have {bundle.model_bytes:,} bytes, found {len(model):,}; "
            "it was not copied whole: copy the bundle again"
        )
    if outside := external_files(model):
        raise ModelError(
            f"{file} must hold all its weights, found them in {', '.join(outside)}, which the hash does "
            "not cover; make the bundle again with `reid-stream models wrap`"
        )
    found = fingerprint(bundle, model)
    if found != bundle.hash:
        raise ModelError(
            f"{folder} must have the hash {bundle.hash[:12]}, found {found[:12]}: {file.name} or bundle.json was "
            "altered after the bundle was made; copy or export it again"
        )
    return bundle


def load_embedder(folder: Path) -> EmbedderBundle:
    """Load a bundle that must be an embedder."""
    return _of_kind(load(folder), EmbedderBundle, folder)


def load_detector(folder: Path) -> DetectorBundle:
    """Load a bundle that must be a detector."""
    return _of_kind(load(folder), DetectorBundle, folder)


def save(bundle: _B, model: bytes, folder: Path, weights: bytes | None = None) -> _B:
    """Write the files and return the bundle with its hash and size; an older bundle there is replaced.

    `model` is an ONNX file, or with `weights` the text of an OpenVINO IR.

    Raises:
        ModelError: a field is wrong, the network has weights in other files, or the folder cannot be written.
    """
    if outside := external_files(model):
        raise ModelError(f"a bundle's network must hold all its weights, found them in {', '.join(outside)}")
    content = model + (weights or b"")
    sized = msgspec.structs.replace(bundle, model_bytes=len(content))
    complete = _parse(msgspec.json.encode(sized), folder / BUNDLE_FILE)  # numbers as they will be read: 2 becomes 2.0
    complete = msgspec.structs.replace(complete, hash=fingerprint(complete, content))
    _check_fields(complete, folder / BUNDLE_FILE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_network(folder, model, weights)
        (folder / BUNDLE_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(complete), indent=1) + b"\n")
    except OSError as error:
        raise ModelError(f"a bundle must be writable, {folder}: {error.strerror or error}") from error
    return _of_kind(complete, type(bundle), folder)


def update(bundle: _B, folder: Path) -> _B:
    """Write changed fields of the bundle in `folder`, whose network stays; return it with its hash.

    Raises:
        ModelError: as `save` does.
    """
    content = read_network(folder)
    if is_openvino_only(folder):
        size = (folder / IR_FILE).stat().st_size
        return save(bundle, content[:size], folder, content[size:])
    return save(bundle, content, folder)


def fingerprint(bundle: Bundle, model: bytes) -> str:
    """Return the sha256 (hex) of a model file and of the fields that serving depends on."""
    fields: dict[str, Any] = msgspec.to_builtins(bundle)
    served = {name: value for name, value in fields.items() if name not in _NOT_SERVED}
    digest = hashlib.sha256(model)
    digest.update(msgspec.json.encode(served, order="sorted"))
    return digest.hexdigest()


def probe_input(bundle: Bundle, seed: int | None = None) -> Floats:
    """Make the probe's network input (1, 3, h, w) float32 from its seed.

    Blocks of colour, not white noise: low precision agrees on them about as well as on crops.
    """
    height, width = bundle.input.height, bundle.input.width
    rows, columns = -(-height // _PROBE_BLOCK_PX), -(-width // _PROBE_BLOCK_PX)
    generator = np.random.Generator(np.random.PCG64(bundle.probe.seed if seed is None else seed))
    blocks = generator.integers(0, 256, (rows, columns, 3)).astype(np.float32)
    image: Floats = blocks.repeat(_PROBE_BLOCK_PX, axis=0).repeat(_PROBE_BLOCK_PX, axis=1)[:height, :width]
    if isinstance(bundle, EmbedderBundle):
        mean, std = (np.asarray(values, np.float32) for values in (bundle.input.mean, bundle.input.std))
        image = (image / np.float32(255) - mean) / std
    else:
        image = image * np.float32(bundle.input.scale / 255)
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32)


def probe_of(bundle: Bundle, output: Floats, values: int = 512) -> list[float]:
    """Reduce a network's output for the probe to the numbers that are kept and compared."""
    flat = np.asarray(output, dtype=np.float64).ravel()
    if isinstance(bundle, EmbedderBundle):
        flat /= max(float(np.linalg.norm(flat)), 1e-12)
    places = np.linspace(0, flat.size - 1, min(values, flat.size)).round().astype(int)
    return [float(value) for value in flat[places]]


def check_probe(bundle: Bundle, output: Floats) -> float:
    """Return how far the network's answer to `probe_input` lies from the expected one, relative to its size.

    Raises:
        ModelError: wrong shape, not finite, or further than the probe's tolerance.
    """
    expected = np.asarray(bundle.probe.output)
    if list(output.shape) != bundle.probe.shape:
        raise ModelError(
            f"bundle {bundle.name}: the network must give {tuple(bundle.probe.shape)} for one input, got "
            f"{output.shape}; model.onnx and bundle.json do not belong together: export again"
        )
    found = np.asarray(probe_of(bundle, output, len(expected)))
    error = float(np.linalg.norm(found - expected) / max(float(np.linalg.norm(expected)), 1e-12))
    if not error <= bundle.probe.tolerance:  # also when it is not a number
        raise ModelError(
            f"bundle {bundle.name}: the probe's answer must lie within {bundle.probe.tolerance:g} of the expected one, "
            f"got {error:.3g}; this engine or precision computes something else: choose another engine, or export again"
        )
    return error


def _read(path: Path, rule: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{rule}; {path}: {error.strerror or error}") from error
    if not content:
        raise ModelError(f"{path} must not be empty, found 0 bytes; copy the bundle again")
    return content


def _parse(text: bytes, path: Path) -> Bundle:
    try:
        raw = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{path} must be JSON: {error}; copy the bundle again") from error
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if schema != SCHEMA:
        raise ModelError(
            f"{path} must have schema {SCHEMA}, found {schema!r}; use the reid-stream that wrote it, or export again"
        )
    try:
        bundle: Bundle = msgspec.convert(raw, Bundle)
    except msgspec.ValidationError as error:
        raise ModelError(f"{path}: {error}; export the bundle again") from error
    return bundle


def _check_fields(bundle: Bundle, path: Path) -> None:
    """Check what single fields cannot know."""
    faults = _embedder_faults(bundle) if isinstance(bundle, EmbedderBundle) else _detector_faults(bundle)
    if faults:
        raise ModelError(f"{path}: {'; '.join(faults)}; export the bundle again")


def _embedder_faults(bundle: EmbedderBundle) -> list[str]:
    faults = []
    for name, numbers in (("verifier.d", bundle.verifier.d), ("probe.output", bundle.probe.output)):
        if len(numbers) != bundle.dim:
            faults.append(f"{name} must have {bundle.dim} numbers, got {len(numbers)}")
    if any(value < 0 for value in bundle.verifier.d):
        faults.append(f"verifier.d must not be negative, got {min(bundle.verifier.d)}")
    if min(bundle.input.std) <= 0:
        faults.append(f"input.std must be positive, got {bundle.input.std}")
    return faults + _calibration_faults(bundle.calibration)


def _calibration_faults(calibration: Calibration) -> list[str]:
    parameters = calibration.parameters
    rates, odds = calibration.stranger_rates, calibration.stranger_log_odds
    if len(rates) != len(odds):
        return [f"calibration.stranger_rates and stranger_log_odds must agree, got {len(rates)} and {len(odds)}"]
    if any(after >= before for before, after in pairwise(rates)) or any(b < a for a, b in pairwise(odds)):
        return ["calibration.stranger_rates must fall and stranger_log_odds must not fall"]
    expected = {"platt": {"slope", "intercept"}, "isotonic": {"margin", "probability"}, "none": set[str]()}[
        calibration.kind
    ]
    if set(parameters) != expected:
        return [f"calibration.parameters of {calibration.kind} must be {sorted(expected)}, got {sorted(parameters)}"]
    if calibration.kind == "platt" and any(isinstance(value, list) for value in parameters.values()):
        return ["calibration.parameters of platt must be two numbers"]
    if calibration.kind == "isotonic":
        curves = [value for value in parameters.values() if isinstance(value, list)]
        if len(curves) != 2 or len(curves[0]) != len(curves[1]) or len(curves[0]) < 2:
            return ["calibration.parameters of isotonic must be two lists of one length, 2 or more"]
        if any(after < before for curve in curves for before, after in pairwise(curve)):
            return ["calibration.parameters of isotonic must not fall"]
    return []


def _detector_faults(bundle: DetectorBundle) -> list[str]:
    faults = []
    if bundle.person >= len(bundle.classes):
        faults.append(f"person must be one of the {len(bundle.classes)} classes, got {bundle.person}")
    if not bundle.probe.output:
        faults.append("probe.output must have numbers, got none")
    return faults


def _of_kind(bundle: Bundle, kind: type[_B], folder: Path) -> _B:
    if not isinstance(bundle, kind):
        raise ModelError(f"{folder} must be a bundle of kind {kind.kind}, found {bundle.kind}; name another folder")
    return bundle
