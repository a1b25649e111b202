"""Schema, loading and verification of model bundles: a folder with `bundle.json` and a network.

    folder -> load -> EmbedderBundle | DetectorBundle -> (an engine runs the network) -> check_probe

The network is `model.onnx`, or an OpenVINO IR, see `network_file`.

Schema, fields, size of the model file and hash are checked before anything is run, and one probe input with its
expected output is checked after the engine is built. Every stored vector names the hash of its bundle; the hash
therefore covers everything that changes vectors or their meaning.

Letters: d embedding dimensions, h and w pixels.
"""

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from reid_stream.bundles import network_file
from reid_stream.bundles.onnx_file import external_files
from reid_stream.errors import ModelError

Floats = npt.NDArray[np.float32]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Inside = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Pixels = Annotated[int, msgspec.Meta(ge=1, le=8192)]
Channels = tuple[float, float, float]

SCHEMA = 1
BUNDLE_FILE = "bundle.json"
_MOST_JSON_BYTES = 64 << 20
MODEL_FILE = network_file.ONNX_FILE
MAX_DIM = 512
_NOT_SERVED = ("name", "hash", "created", "licence", "data", "metrics", "source")
"""Descriptive fields, which change neither vectors nor decisions and are not hashed."""
_PROBE_BLOCK_PX = 8
"""Side of the uniform blocks of a probe image."""


class EmbedderInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Input of a re-ID network; the fields of `embed.preprocess.InputSpec`."""

    height: Pixels
    """Pixels."""
    width: Pixels
    """Pixels."""
    mean: Channels = (0.485, 0.456, 0.406)
    """Subtracted per channel from values in [0, 1], in `colour` order; default: ImageNet's."""
    std: Channels = (0.229, 0.224, 0.225)
    """Divisor per channel, applied after `mean`."""
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
    """Map from margin to P(same person); see bundles/calibration.py."""

    kind: Literal["platt", "isotonic", "none", "default"]
    """`platt`: slope, intercept; `isotonic`: margin, probability (rising); `none`: the margin is the log odds;
    `default`: as `platt`, of other networks, for vectors whose mean is subtracted (bundles/default_calibration.py)."""
    parameters: dict[str, float | list[float]]
    """Parameters of that kind."""
    prior: Inside = 0.5
    """Share of same-person pairs in the data it was fitted on; serving corrects for it."""
    at_precision: Literal["f32", "f16", "bf16", "int8"] = "f32"
    """Arithmetic of the engine whose vectors it was fitted on."""
    fitted_on: str = ""
    """Data, persons and pairs, in words."""
    stranger_rates: list[Inside] = []
    """False-match rates, falling, at which `stranger_log_odds` was measured; empty without a curve."""
    stranger_log_odds: list[float] = []
    """Log likelihood ratio, rising, that pairs of different persons exceed with each rate."""

    @property
    def is_default(self) -> bool:
        """Whether it is of other networks, on the scale of vectors whose mean is subtracted."""
        return self.kind == "default"


class DetectorInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Input of a detector: letterboxed, padded, scaled."""

    height: Pixels
    """Pixels of the letterbox."""
    width: Pixels
    """Pixels of the letterbox."""
    colour: Literal["rgb", "bgr"] = "rgb"
    """Channel order of the network."""
    scale: Literal[1, 255] = 1
    """Largest pixel value."""
    pad: Annotated[int, msgspec.Meta(ge=0, le=255)] = 114
    """Grey value of the padding, out of 255."""


class Probe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One input, generated from a seed, and the expected output of the network."""

    seed: Annotated[int, msgspec.Meta(ge=0)]
    """Seed of `probe_input`."""
    shape: list[int]
    """Shape of the whole output for a batch of one."""
    output: list[float]
    """Evenly spaced values of the flattened output; the whole vector at unit length for an embedder."""
    tolerance: Annotated[float, msgspec.Meta(gt=0)]
    """Largest accepted |found - expected| / |expected|; covers bf16."""


class _Bundle(msgspec.Struct, tag_field="kind", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields of both kinds of bundles."""

    schema: int = SCHEMA
    """Version of the format of bundle.json."""
    name: str
    """Display name."""
    hash: str = ""
    """sha256 of the network and of everything that serving depends on; set by `save`."""
    created: str
    """UTC, ISO 8601."""
    licence: str
    """Licence of the weights, not of this code."""
    data: list[str]
    """Training data."""
    metrics: dict[str, float] = {}
    """Measured when the bundle was made."""
    source: str
    """Command, repository or file it was made from."""
    model_bytes: int = 0
    """Size of the network; distinguishes a truncated file from an altered one. Set by `save`."""
    probe: Probe
    """Checks that an engine computes the right output."""


class EmbedderBundle(_Bundle, tag="embedder", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bundle of a re-ID network: crops -> vectors, with the verification head and its calibration."""

    kind: ClassVar[str] = "embedder"
    input: EmbedderInput
    dim: Annotated[int, msgspec.Meta(ge=1, le=MAX_DIM)]
    """Length d of a vector."""
    verifier: Verifier
    calibration: Calibration

    @property
    def calibrated(self) -> Calibration | None:
        """The calibration; None for kind `none`."""
        return None if self.calibration.kind == "none" else self.calibration


class DetectorBundle(_Bundle, tag="detector", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bundle of a detector: frames -> boxes of persons."""

    kind: ClassVar[str] = "detector"
    input: DetectorInput
    decoder: Literal["yolo", "yolo_end2end", "yolox"]
    """Layout of the output: `yolo` (4 + classes, n) centre boxes; `yolo_end2end` (n, 6) corner boxes, score and class
    after NMS; `yolox` (n, 5 + classes) per grid cell."""
    classes: list[str]
    """Class names in the order of the output."""
    person: Annotated[int, msgspec.Meta(ge=0)]
    """Index of the class person."""
    score_threshold: Share | msgspec.UnsetType = msgspec.UNSET
    """Unused; accepted and hashed for older bundles. See `detect.score` in cams.yaml."""
    iou_threshold: Share = 0.7
    """Overlap of two boxes (IoU) above which the one of lower score is dropped."""


Bundle = EmbedderBundle | DetectorBundle
_B = TypeVar("_B", EmbedderBundle, DetectorBundle)


def load(folder: Path) -> Bundle:
    """Read and check a bundle; the network itself is not run (see `check_probe`).

    Raises:
        ModelError: a file is missing, empty, truncated or altered, or a field is invalid.
    """
    rule = "a bundle is a folder with bundle.json and model.onnx"
    text = network_file.read_file(folder / BUNDLE_FILE, rule, _MOST_JSON_BYTES)
    bundle = _parse(text, folder / BUNDLE_FILE)
    _check_fields(bundle, folder / BUNDLE_FILE)
    size, file = network_file.network_bytes(folder), network_file.network_file(folder)
    if size != bundle.model_bytes:
        raise ModelError(
            f"{file} must have {bundle.model_bytes:,} bytes, found {size:,}; it is truncated: copy the bundle again"
        )
    model = network_file.read_network(folder)
    if outside := external_files(model):
        raise ModelError(
            f"{file} must contain all weights, found some in {', '.join(outside)}, which the hash does "
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
    """Write the files, replacing an older bundle, and return the bundle with its hash and size.

    `model` is an ONNX file, or with `weights` the text of an OpenVINO IR.

    Raises:
        ModelError: a field is invalid, the network has weights in other files, or the folder cannot be written.
    """
    if outside := external_files(model):
        raise ModelError(f"a bundle's network must contain all weights, found some in {', '.join(outside)}")
    content = model + (weights or b"")
    sized = msgspec.structs.replace(bundle, model_bytes=len(content))
    complete = _parse(msgspec.json.encode(sized), folder / BUNDLE_FILE)  # numbers as they will be read: 2 becomes 2.0
    complete = msgspec.structs.replace(complete, hash=fingerprint(complete, content))
    _check_fields(complete, folder / BUNDLE_FILE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        network_file.write_network(folder, model, weights)
        (folder / BUNDLE_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(complete), indent=1) + b"\n")
    except OSError as error:
        raise ModelError(f"a bundle must be writable, {folder}: {error.strerror or error}") from error
    return _of_kind(complete, type(bundle), folder)


def update(bundle: _B, folder: Path) -> _B:
    """Write changed fields of the bundle in `folder`, whose network stays; return it with its hash.

    Raises:
        ModelError: as `save` does.
    """
    content = network_file.read_network(folder)
    if network_file.is_openvino_only(folder):
        size = (folder / network_file.IR_FILE).stat().st_size
        return save(bundle, content[:size], folder, content[size:])
    return save(bundle, content, folder)


def fingerprint(bundle: Bundle, model: bytes) -> str:
    """Return the sha256 (hex) of a model file and of all fields but `_NOT_SERVED`."""
    fields: dict[str, Any] = msgspec.to_builtins(bundle)
    served = {name: value for name, value in fields.items() if name not in _NOT_SERVED}
    digest = hashlib.sha256(model)
    digest.update(msgspec.json.encode(served, order="sorted"))
    return digest.hexdigest()


def probe_input(bundle: Bundle, seed: int | None = None) -> Floats:
    """Return the network input (1, 3, h, w) float32 of a probe, generated from its seed or another one.

    It consists of uniform blocks, not white noise, so that low precision deviates about as much as on real crops.
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
    """Return up to `values` evenly spaced numbers of a probe's output, the ones stored and compared."""
    flat = np.asarray(output, dtype=np.float64).ravel()
    if isinstance(bundle, EmbedderBundle):
        flat /= max(float(np.linalg.norm(flat)), 1e-12)
    places = np.linspace(0, flat.size - 1, min(values, flat.size)).round().astype(int)
    return [float(value) for value in flat[places]]


def check_probe(bundle: Bundle, output: Floats) -> float:
    """Compare the output for `probe_input` with the expected one; return |found - expected| / |expected|.

    Raises:
        ModelError: the shape is wrong, or the error is not finite or above the tolerance.
    """
    expected = np.asarray(bundle.probe.output)
    if list(output.shape) != bundle.probe.shape:
        raise ModelError(
            f"bundle {bundle.name}: the network must give {tuple(bundle.probe.shape)} for one input, got "
            f"{output.shape}; model.onnx and bundle.json do not belong together: export again"
        )
    found = np.asarray(probe_of(bundle, output, len(expected)))
    error = float(np.linalg.norm(found - expected) / max(float(np.linalg.norm(expected)), 1e-12))
    if not error <= bundle.probe.tolerance:  # also true for NaN
        raise ModelError(
            f"bundle {bundle.name}: the output for the probe must lie within {bundle.probe.tolerance:g} of the "
            f"expected one, got {error:.3g}; this engine or precision computes something else: choose another "
            "engine, or export again"
        )
    return error


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
    """Check constraints that involve several fields."""
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
    line, curve = {"slope", "intercept"}, {"margin", "probability"}
    expected = {"platt": line, "default": line, "isotonic": curve, "none": set[str]()}[calibration.kind]
    if set(parameters) != expected:
        return [f"calibration.parameters of {calibration.kind} must be {sorted(expected)}, got {sorted(parameters)}"]
    if expected is line and any(isinstance(value, list) for value in parameters.values()):
        return [f"calibration.parameters of {calibration.kind} must be two numbers"]
    if calibration.kind == "isotonic":
        curves = [value for value in parameters.values() if isinstance(value, list)]
        if len(curves) != 2 or len(curves[0]) != len(curves[1]) or len(curves[0]) < 2:
            return ["calibration.parameters of isotonic must be two lists of one length, 2 or more"]
        if any(after < before for each in curves for before, after in pairwise(each)):
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
