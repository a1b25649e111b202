"""Networks of other origin, read so that they can be bundled: one image input, one output, float32 at both ends.

Letters: b images, h and w pixels.
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reid_stream.bundles import ir_to_onnx, onnx_file
from reid_stream.bundles.bundle import Floats
from reid_stream.bundles.openvino_ir import as_yolo, first_line, outputs_of, read_ir, written
from reid_stream.errors import ModelError

_MOST_METADATA = 100_000


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


def read_network(model: Path, output: str | None) -> ForeignNetwork:
    """Read an ONNX file or an OpenVINO IR (.xml).

    Args:
        model: the file.
        output: name of the output to keep, where there are several.

    Raises:
        ModelError: it cannot be read, has several outputs and `output` names none, or takes other than floats.
    """
    if model.suffix.lower() == ".xml":
        content, weights, network = read_ir(model, output)
        return ForeignNetwork(content, weights, network, model)
    content, network = _read(model, output)
    return ForeignNetwork(content, None, network, model)


def with_yolo_output(found: ForeignNetwork, layout: str, size: tuple[int, int], classes: int) -> ForeignNetwork:
    """Return a detector with its output converted to the layout `yolo`, see `onnx_file.as_yolo`."""
    if found.weights is not None:
        network = as_yolo(found.network, layout, size, classes)
        content, weights = written(network)
        return ForeignNetwork(content, weights, network, found.model)
    content = onnx_file.as_yolo(found.content, layout, size, classes)
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


def class_names(found: ForeignNetwork) -> list[str]:
    """Return the class names that ultralytics writes into a file's metadata, or beside an IR; empty without."""
    network = found.network
    if network.has_rt_info(["framework", "names"]):
        return _listed(str(network.get_rt_info(["framework", "names"]).astype(str)))
    beside = found.model.parent / "metadata.yaml"
    if found.weights is None or not beside.is_file():
        return []
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        read = YAML(typ="safe").load(beside.read_text(encoding="utf-8")[:_MOST_METADATA])
    except (YAMLError, OSError, UnicodeDecodeError):
        return []
    return _listed(str(read.get("names"))) if isinstance(read, dict) else []


def _listed(text: str) -> list[str]:
    """Return the names in `{0: 'person', 1: 'bicycle'}` or `['person', 'bicycle']`."""
    try:
        found = ast.literal_eval(text[:_MOST_METADATA])
    except (ValueError, SyntaxError, MemoryError, RecursionError, RuntimeError):
        return []
    if isinstance(found, dict) and sorted(found) == list(range(len(found))):
        found = [found[index] for index in range(len(found))]
    return [str(name) for name in found] if isinstance(found, list | tuple) else []


def run_once(network: Any, batch: Floats, model: Path) -> Floats:
    """Run an OpenVINO network in float32 and return its first output."""
    try:
        return np.array(compiled_in_f32(network)(batch)[0], dtype=np.float32)
    except RuntimeError as error:
        raise ModelError(f"{model} must run on input {batch.shape}: {first_line(error)}") from error


def compiled_in_f32(network: Any) -> Any:
    """Return an OpenVINO network compiled in float32."""
    import openvino  # heavy: half a second

    return openvino.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def _read(model: Path, output: str | None) -> tuple[bytes, Any]:
    """Return the content of a model file with all weights, one output, float32 input and output; and its network."""
    try:
        content = model.read_bytes()
    except OSError as error:
        raise ModelError(f"a network must be readable, {model}: {error.strerror or error}") from error
    if not content:
        raise ModelError(f"a network must not be empty, {model} has 0 bytes; copy or export it again")
    content = onnx_file.read_whole(model, content)
    network = _parse(content, model)
    names = [sorted(port.get_names()) or ["?"] for port in network.outputs]
    if output is not None and not any(output in each for each in names):
        raise ModelError(f"--output must be one of {outputs_of(network)} of {model}, got {output!r}")
    if len(names) > 1:
        if output is None:
            raise ModelError(f"which output of {model} to use must be given with --output: {outputs_of(network)}")
        index = next(index for index, each in enumerate(names) if output in each)
        content = onnx_file.with_output(content, index)
        network = _parse(content, model)
    kinds = {port.element_type.get_type_name() for port in (*network.inputs, *network.outputs)}
    if kinds & {"f16", "bf16"}:
        content = onnx_file.with_float32_ports(content)
        network = _parse(content, model)
    elif kinds != {"f32"}:
        raise ModelError(
            f"a network must take and give float32 or float16, {model} has {', '.join(sorted(kinds))}; export it again "
            "with images as floating point input"
        )
    return content, network


def _parse(content: bytes, model: Path) -> Any:
    import openvino  # heavy: half a second

    try:
        return openvino.Core().read_model(content)
    except RuntimeError as error:
        raise ModelError(f"a network must be ONNX, {model} is not: {first_line(error)}; export it again") from error


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
        found = ", ".join(str(item.partial_shape) for item in inputs)
        raise ModelError(f"a network must have one input (b, 3, h, w), {model} has {found}")
    height, width = (None if side.is_dynamic else side.get_length() for side in (shape[2], shape[3]))
    return height, width
