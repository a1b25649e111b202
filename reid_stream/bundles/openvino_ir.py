"""Read OpenVINO networks: an IR of two files, .xml and .bin."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reid_stream.bundles.detector_layout import LayoutMatch
from reid_stream.bundles.network_file import file_bytes
from reid_stream.errors import ModelError


def read_ir(model: Path, output: str | None = None, *, is_detector: bool = False) -> tuple[bytes, bytes, Any]:
    """Return an OpenVINO IR, text and weights, with float32 at both ends and one output, and the network in it.

    Of a detector, outputs of boxes and scores are joined.

    Raises:
        ModelError: a file is missing or broken, or the IR has several outputs and `output` names none of them.
    """
    import openvino
    from openvino.preprocess import PrePostProcessor

    weights = model.with_suffix(".bin")
    for file in (model, weights):
        file_bytes(file, "an OpenVINO network must have its .xml and its .bin")
    try:
        network = openvino.Core().read_model(model)
        if is_detector and output is None and (pair := pair_of(network)) is not None:
            network = joined(network, *pair)
            text, data = written(network)
            return text, data, network
        names = [sorted(port.get_names()) or ["?"] for port in network.outputs]
        if output is not None and not any(output in each for each in names):
            raise ModelError(f"--output must be one of {outputs_of(network)} of {model}, got {output!r}")
        if len(names) > 1 and output is None:
            raise ModelError(f"which output of {model} to use must be given with --output: {outputs_of(network)}")
        kept = next((place for place, each in enumerate(names) if output in each), 0)
        kinds = {port.element_type.get_type_name() for port in (*network.inputs, network.outputs[kept])}
        if len(names) == 1 and kinds == {"f32"}:
            return model.read_bytes(), weights.read_bytes(), network
        network = openvino.Model([network.outputs[kept]], network.get_parameters(), network.get_friendly_name())
        ports = PrePostProcessor(network)
        ports.input().tensor().set_element_type(openvino.Type.f32)
        ports.output().tensor().set_element_type(openvino.Type.f32)
        network = ports.build()
        text, data = written(network)
    except RuntimeError as error:
        raise ModelError(
            f"an OpenVINO network must be readable, {model}: {first_line(error)} ({weights.name} has "
            f"{weights.stat().st_size:,} bytes: is it whole?)"
        ) from error
    return text, data, network


def written(network: Any) -> tuple[bytes, bytes]:
    """Return the text and the weights of a network."""
    import openvino

    with TemporaryDirectory() as folder:
        openvino.save_model(network, Path(folder) / "model.xml", compress_to_fp16=False)
        text, data = ((Path(folder) / f"model.{suffix}").read_bytes() for suffix in ("xml", "bin"))
    return text, data


def as_yolo(network: Any, found: LayoutMatch, size: tuple[int, int], classes: int) -> Any:
    """Return a detector whose output is converted to the layout `yolo`, (b, 4 + classes, n).

    Args:
        network: with one float32 output; taken apart.
        found: layout of the output; any but `yolox` and `yolo_end2end`.
        size: (height, width) of the input in pixels.
        classes: number of classes.
    """
    import numpy as np
    import openvino
    from openvino import opset13 as ops

    def split(value: Any, ends: list[int]) -> Any:
        return ops.variadic_split(value, ops.constant(2), ops.constant(np.array(ends, np.int64))).outputs()

    turned = ops.constant(np.array([0, 2, 1], np.int64))
    raw = network.outputs[0].get_node().input(0).get_source_output()
    rows = ops.transpose(raw, turned) if found.layout == "yolo" else raw
    boxes, *numbers = split(rows, [4, 1, classes] if found.layout == "yolov5" else [4, classes])
    if found.has_logits:
        numbers = [ops.sigmoid(each) for each in numbers]
    scores = ops.multiply(*numbers) if len(numbers) == 2 else numbers[0]
    if found.layout == "corners":
        near, far = split(boxes, [2, 2])
        middle = ops.multiply(ops.add(near, far), ops.constant(np.array([0.5], np.float32)))
        boxes = ops.concat([middle, ops.subtract(far, near)], 2)
    if found.is_relative:
        boxes = ops.multiply(boxes, ops.constant(np.array([size[1], size[0]] * 2, np.float32)))
    made = ops.transpose(ops.concat([boxes, scores], 2), turned)
    return openvino.Model([made], network.get_parameters(), network.get_friendly_name())


def pair_of(network: Any) -> tuple[int, int] | None:
    """Return the indices of the outputs of boxes (b, n, 4) and of class scores (b, n, classes).

    None where there are no such two, or several. Boxes may have an axis of one more, (b, n, 1, 4).
    """
    shapes = {place: port.partial_shape for place, port in enumerate(network.outputs)}
    known = {place: shape for place, shape in shapes.items() if shape.rank.is_static and len(shape) in (3, 4)}
    found = [
        (boxes, scores)
        for boxes, shape in known.items()
        for scores, other in known.items()
        if boxes != scores and _is_boxes(shape) and len(other) == 3 and other[1] == shape[1]
    ]
    return found[0] if len(found) == 1 else None


def _is_boxes(shape: Any) -> bool:
    sides = [side.get_length() if side.is_static else None for side in shape]
    return sides[-1] == 4 and (len(sides) == 3 or sides[2] == 1)


def joined(network: Any, boxes: int, scores: int) -> Any:
    """Return a detector with its outputs of boxes and scores in a row; the network is taken apart."""
    import numpy as np
    import openvino
    from openvino import opset13 as ops

    ends = [port.get_node().input(0).get_source_output() for port in network.outputs]
    flat = ops.reshape(ends[boxes], ops.constant(np.array([0, -1, 4], np.int64)), special_zero=True)
    made = ops.concat([flat, ends[scores]], 2)
    made.output(0).set_names({"joined"})
    return openvino.Model([made], network.get_parameters(), network.get_friendly_name())


def with_vectors(network: Any) -> Any:
    """Return an embedder with output (b, d) in place of (b, d, 1, 1) or (b, 1, d); the network is taken apart."""
    import numpy as np
    import openvino
    from openvino import opset13 as ops

    raw = network.outputs[0].get_node().input(0).get_source_output()
    made = ops.reshape(raw, ops.constant(np.array([0, -1], np.int64)), special_zero=True)
    made.output(0).set_names(network.outputs[0].get_names())
    return openvino.Model([made], network.get_parameters(), network.get_friendly_name())


def with_projection(network: Any, axes: Any) -> Any:
    """Return an embedder whose vectors (b, d) are projected to axes (d, r); the network is taken apart."""
    import openvino
    from openvino import opset13 as ops

    made = ops.matmul(network.outputs[0].get_node().input(0).get_source_output(), ops.constant(axes), False, False)
    made.output(0).set_names(network.outputs[0].get_names())
    return openvino.Model([made], network.get_parameters(), network.get_friendly_name())


def outputs_of(network: Any) -> str:
    """Return names and shapes of a network's outputs, for messages."""
    return ", ".join(f"{'/'.join(sorted(port.get_names())) or '?'} {port.partial_shape}" for port in network.outputs)


def first_line(error: Exception) -> str:
    """Return the line of an OpenVINO error that names the fault."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Check" not in line and "Exception" not in line), "unknown reason")


def unknown_operators(error: Exception) -> list[str]:
    """Return the operators that OpenVINO could not read, as its error lists them; those without any rule first."""
    found = re.findall(r"-- (?:No conversion rule found for operations|Conversion is failed for): (.*)", str(error))
    return [name.strip() for line in found for name in line.split(",")]
