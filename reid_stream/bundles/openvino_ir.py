"""Read OpenVINO networks: an IR of two files, .xml and .bin."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
        if not file.is_file() or not file.stat().st_size:
            state = "has 0 bytes" if file.is_file() else "is missing"
            raise ModelError(f"an OpenVINO network must have its .xml and its .bin, {file} {state}; copy both")
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
        with TemporaryDirectory() as folder:
            openvino.save_model(network, Path(folder) / "model.xml", compress_to_fp16=False)
            text, data = ((Path(folder) / f"model.{suffix}").read_bytes() for suffix in ("xml", "bin"))
    except RuntimeError as error:
        raise ModelError(
            f"an OpenVINO network must be readable, {model}: {first_line(error)} ({weights.name} has "
            f"{weights.stat().st_size:,} bytes: is it whole?)"
        ) from error
    return text, data, network


def outputs_of(network: Any) -> str:
    """Return names and shapes of a network's outputs, for messages."""
    return ", ".join(f"{'/'.join(sorted(port.get_names())) or '?'} {port.partial_shape}" for port in network.outputs)


def first_line(error: Exception) -> str:
    """Return the line of an OpenVINO error that names the fault."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Check" not in line and "Exception" not in line), "unknown reason")
