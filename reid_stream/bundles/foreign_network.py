"""Networks of other origin, read so that they can be bundled: one image input, one output, float32 at both ends.

Letters: b images, h and w pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reid_stream.bundles import ir_to_onnx, onnx_rewriting
from reid_stream.bundles.bundle import Floats
from reid_stream.bundles.detector_layout import LayoutMatch
from reid_stream.bundles.network_file import read_file
from reid_stream.bundles.onnx_file import read_whole
from reid_stream.bundles.onnx_weights import with_known_quantisation
from reid_stream.bundles.openvino_ir import (
    as_yolo,
    first_line,
    outputs_of,
    pair_of,
    read_ir,
    unknown_operators,
    with_projection,
    with_vectors,
    written,
)
from reid_stream.errors import ModelError

_SLACK = 1e-3
"""Share of the largest number by which the answer to an image may differ between batches: rounding."""


@dataclass(frozen=True, slots=True)
class ForeignNetwork:
    """A network and its files."""

    content: bytes
    """An ONNX file, or the text of an OpenVINO IR."""
    weights: bytes | None
    """Weights of an IR; None for ONNX, whose file holds them."""
    network: Any
    """OpenVINO's model of it."""
    model: Path
    """Origin of the network, for messages."""

    @property
    def is_joined(self) -> bool:
        """Whether its output was made of two, boxes and scores."""
        return "joined" in self.network.outputs[0].get_names()


def read_network(model: Path, output: str | None, *, is_detector: bool = False) -> ForeignNetwork:
    """Read an ONNX file or an OpenVINO IR (.xml).

    Args:
        model: the file.
        output: name of the output to keep, where there are several.
        is_detector: outputs of boxes and scores become one.

    Raises:
        ModelError: it cannot be read, has several outputs and `output` names none, or takes other than floats.
    """
    if model.suffix.lower() == ".xml":
        content, weights, network = read_ir(model, output, is_detector=is_detector)
        return ForeignNetwork(content, weights, network, model)
    content, network = _read(model, output, is_detector=is_detector)
    return ForeignNetwork(content, None, network, model)


def with_yolo_output(found: ForeignNetwork, layout: LayoutMatch, size: tuple[int, int], classes: int) -> ForeignNetwork:
    """Return a detector with its output converted to the layout `yolo`, see `onnx_rewriting.as_yolo`."""
    if found.weights is not None:
        network = as_yolo(found.network, layout, size, classes)
        content, weights = written(network)
        return ForeignNetwork(content, weights, network, found.model)
    content = onnx_rewriting.as_yolo(found.content, layout, size, classes)
    return ForeignNetwork(content, None, _parse(content, found.model), found.model)


def as_onnx(found: ForeignNetwork, log: Callable[[str], None]) -> ForeignNetwork:
    """Return an OpenVINO embedder as ONNX where that is exact (`ir_to_onnx`), else as it is; log which, and why."""
    try:
        content = ir_to_onnx.converted(found.network, compiled_in_f32)
    except ir_to_onnx.InexactError as error:
        log(f"stays an OpenVINO network, {error}: OpenVINO alone serves it, models.engine auto or openvino")
        return found
    log("converted to ONNX, with the same vectors: every engine serves it")
    return ForeignNetwork(content, None, _parse(content, found.model), found.model)


def as_vectors(found: ForeignNetwork, dim: int) -> ForeignNetwork:
    """Return an embedder whose output (b, d, 1, 1) or (b, 1, d) becomes (b, d)."""
    if found.weights is not None:
        network = with_vectors(found.network)
        content, weights = written(network)
        return ForeignNetwork(content, weights, network, found.model)
    content = onnx_rewriting.with_vectors(found.content, dim)
    return ForeignNetwork(content, None, _parse(content, found.model), found.model)


def with_shorter_vectors(found: ForeignNetwork, dim: int, wanted: int) -> ForeignNetwork:
    """Return an embedder whose vectors of `dim` numbers become `wanted`, by a fixed orthogonal projection.

    The axes are random: without pictures no others are better. Cosines keep their mean and scatter by about
    sqrt((1 / wanted - 1 / dim)) around it (Johnson and Lindenstrauss, 1984).
    """
    axes = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, wanted)))[0].astype(np.float32)
    if found.weights is not None:
        network = with_projection(found.network, axes)
        content, weights = written(network)
        return ForeignNetwork(content, weights, network, found.model)
    content = onnx_rewriting.with_projection(found.content, axes)
    return ForeignNetwork(content, None, _parse(content, found.model), found.model)


def for_any_batch(found: ForeignNetwork, size: tuple[int, int]) -> ForeignNetwork:
    """Return the network, fixed to one image at a time where it does not answer each image of a batch by itself.

    Exports with a dynamic batch may hold a reshape to (1, d), or normalise over the batch; OpenVINO, which is given
    single images, would serve them, and other engines would fail at the first batch.
    """
    batch = found.network.inputs[0].partial_shape[0]
    if found.weights is not None or batch.is_static:
        return found
    images = np.random.default_rng(0).uniform(0, 1, (2, 3, *size)).astype(np.float32)
    try:
        run = compiled_in_f32(found.network)
        one, two = (np.array(run(part)[0]) for part in (images[:1], images))
    except RuntimeError:
        one, two = np.zeros(1), np.zeros(0)
    slack = _SLACK * max(1.0, float(np.abs(one).max(initial=0.0)))
    if len(two) == 2 and one.shape[1:] == two.shape[1:] and np.abs(two[0] - one[0]).max(initial=0.0) <= slack:
        return found
    content = onnx_rewriting.with_batch_of_one(found.content)
    return ForeignNetwork(content, None, _parse(content, found.model), found.model)


def run_once(network: Any, batch: Floats, model: Path) -> Floats:
    """Run an OpenVINO network in float32 and return its first output.

    Raises:
        ModelError: it cannot run, or gives other than finite numbers.
    """
    try:
        answer = np.array(compiled_in_f32(network)(batch)[0], dtype=np.float32)
    except RuntimeError as error:
        raise ModelError(f"{model} must run on input {batch.shape}: {first_line(error)}") from error
    if not np.isfinite(answer).all():
        share = 1 - np.isfinite(answer).mean()
        raise ModelError(
            f"a network must give finite numbers, {share:.0%} of those of {model} for a grey or random image are not; "
            "export it again, in float32"
        )
    return answer


def compiled_in_f32(network: Any) -> Any:
    """Return an OpenVINO network compiled in float32."""
    import openvino  # heavy: half a second

    return openvino.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def _read(model: Path, output: str | None, *, is_detector: bool) -> tuple[bytes, Any]:
    """Return the content of a model file with all weights, one output, float32 input and output; and its network."""
    content = with_known_quantisation(read_whole(model, read_file(model, "a network must be readable")))
    network = _parse(content, model)
    if len(network.inputs) != 1:
        raise _not_one_image(network, model)
    pair = pair_of(network) if is_detector and output is None else None
    names = [sorted(port.get_names()) or ["?"] for port in network.outputs]
    if output is not None and not any(output in each for each in names):
        raise ModelError(f"--output must be one of {outputs_of(network)} of {model}, got {output!r}")
    if len(names) > 1 and pair is None:
        if output is None:
            raise ModelError(f"which output of {model} to use must be given with --output: {outputs_of(network)}")
        index = next(index for index, each in enumerate(names) if output in each)
        content = onnx_rewriting.with_output(content, index)
        network = _parse(content, model)
    kinds = {port.element_type.get_type_name() for port in (*network.inputs, *network.outputs)}
    if not kinds <= {"f16", "bf16", "f32", "f64"}:
        raise ModelError(
            f"a network must take and give floating point numbers, {model} has {', '.join(sorted(kinds))}; export it "
            "again with images as float32 input"
        )
    if _has_bfloat16(network):
        content = onnx_rewriting.without_bfloat16(content)
    if kinds & {"f16", "f64"}:
        content = onnx_rewriting.with_float32_ports(content)
    if _is_channels_last(network):
        content = onnx_rewriting.with_channels_first(content)
    if pair is not None:
        content = onnx_rewriting.joined(content, *pair)
    return content, _parse(content, model)


def _has_bfloat16(network: Any) -> bool:
    outputs = (output for node in network.get_ops() for output in node.outputs())
    return any(output.get_element_type().get_type_name() == "bf16" for output in outputs)


def _is_channels_last(network: Any) -> bool:
    """Whether the input is (b, h, w, 3), as TensorFlow's networks have it."""
    shape = network.inputs[0].partial_shape
    if len(network.inputs) != 1 or shape.rank.is_dynamic or len(shape) != 4:
        return False
    channels = [None if side.is_dynamic else side.get_length() for side in (shape[1], shape[3])]
    return channels[0] != 3 and channels[1] == 3


def _parse(content: bytes, model: Path) -> Any:
    import openvino  # heavy: half a second

    try:
        return openvino.Core().read_model(content)
    except RuntimeError as error:
        if foreign := onnx_rewriting.foreign_operators(content):
            raise ModelError(
                f"a network must consist of standard operators, {model} has {', '.join(foreign[:5])}, which only the "
                "engine it was exported for knows; export it again for ONNX, a detector without suppression (NMS)"
            ) from error
        if unknown := unknown_operators(error):
            raise ModelError(
                f"a network must consist of operators that OpenVINO knows, of {model} it does not know "
                f"{', '.join(unknown[:5])}; export it again, a quantised network with QuantizeLinear and "
                "DequantizeLinear (QDQ)"
            ) from error
        raise ModelError(f"a network must be ONNX, {model} is not: {first_line(error)}; export it again") from error


def _not_one_image(network: Any, model: Path) -> ModelError:
    found = ", ".join(str(item.partial_shape) for item in network.inputs) or "none"
    return ModelError(
        f"a network must have one input (b, 3, h, w), {model} has {found}; export it again with the image as its only "
        "input"
    )


def image_size(network: Any, model: Path) -> tuple[int | None, int | None]:
    """Return height and width of the input, None where the network accepts any."""
    inputs = network.inputs
    shape = inputs[0].partial_shape if len(inputs) == 1 else None
    if (
        shape is None
        or shape.rank.is_dynamic
        or len(shape) != 4
        or not (shape[1].is_dynamic or shape[1].get_length() == 3)
    ):
        raise _not_one_image(network, model)
    if shape[0].is_static and shape[0].get_length() != 1:
        raise ModelError(
            f"a network must take any number of images or one, {model} takes {shape[0].get_length()}; export it again "
            "with a dynamic batch"
        )
    height, width = (None if side.is_dynamic else side.get_length() for side in (shape[2], shape[3]))
    return height, width
