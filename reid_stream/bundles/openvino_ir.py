"""Read OpenVINO networks: an IR of two files, .xml and .bin."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reid_stream.bundles.network_file import file_bytes
from reid_stream.errors import ModelError


def read_ir(model: Path, output: str | None = None) -> tuple[bytes, bytes, Any]:
    """Return an OpenVINO IR, text and weights, with float32 at both ends and one output, and the network in it.

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


def as_yolo(network: Any, layout: str, size: tuple[int, int], classes: int) -> Any:
    """Return a detector whose output is converted to the layout `yolo`, (b, 4 + classes, n).

    Args:
        network: with one float32 output (b, n, columns); taken apart.
        layout: `yolo_transposed`, `yolov5` or `rtdetr`; see `bundles.detector_layout`.
        size: (height, width) of the input in pixels.
        classes: number of classes.
    """
    import numpy as np
    import openvino
    from openvino import opset13 as ops

    raw = network.outputs[0].get_node().input(0).get_source_output()
    if layout != "yolo_transposed":
        ends = {"yolov5": [4, 1, classes], "rtdetr": [4, classes]}[layout]
        parts = ops.variadic_split(raw, ops.constant(2), ops.constant(np.array(ends, np.int64)))
        boxes, scores = parts.output(0), parts.output(len(ends) - 1)
        if layout == "yolov5":
            scores = ops.multiply(parts.output(1), scores)
        else:
            sides = np.array([size[1], size[0], size[1], size[0]], np.float32)
            boxes = ops.multiply(boxes, ops.constant(sides))
        raw = ops.concat([boxes, scores], 2)
    made = ops.transpose(raw, ops.constant(np.array([0, 2, 1], np.int64)))
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


def outputs_of(network: Any) -> str:
    """Return names and shapes of a network's outputs, for messages."""
    return ", ".join(f"{'/'.join(sorted(port.get_names())) or '?'} {port.partial_shape}" for port in network.outputs)


def first_line(error: Exception) -> str:
    """Return the line of an OpenVINO error that names the fault."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Check" not in line and "Exception" not in line), "unknown reason")
