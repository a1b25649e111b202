"""ONNX Runtime on the CPU (extra `onnx`): for machines without OpenVINO and networks that it cannot run."""

from pathlib import Path

import numpy as np
import onnxruntime as ort

from reid_stream.config.settings import Models
from reid_stream.engines.cpus import threads_for
from reid_stream.engines.onnx_io import EngineBase, Shape, check_batch, check_network, first_line
from reid_stream.engines.protocol import Floats, Pixels, to_numbers
from reid_stream.errors import ModelError
from reid_stream.images import UInt8


class OnnxEngine(EngineBase):
    """Run one ONNX network by ONNX Runtime, in f32."""

    def __init__(self, model: Path, settings: Models, *, pixels: Pixels | None = None) -> None:
        """Read the network.

        Raises:
            ModelError: bf16 was asked for, the file is no network of one image input, or it cannot be run.
        """
        if settings.precision == "bf16":
            raise ModelError("models.precision must be auto or f32 with the engine onnx, got bf16")
        self._path, self._pixels = model, pixels
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads_for(settings.threads)
        options.log_severity_level = 3  # its warnings concern the graph and cannot be acted on here
        try:
            self._session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no base but Exception
            raise ModelError(f"{model} must be an ONNX network: {first_line(error)}; export it again") from error
        inputs = [_shape(port.shape) for port in self._session.get_inputs()]
        outputs = self._session.get_outputs()
        check_network(model, inputs, len(outputs))
        self._input, self._output = inputs[0], _shape(outputs[0].shape)
        self._names = self._session.get_inputs()[0].name, outputs[0].name

    @property
    def name(self) -> str:
        """`onnxruntime cpu f32`."""
        return "onnxruntime cpu f32"

    def __call__(self, batch: Floats) -> Floats:
        """See `protocol.Engine`."""
        check_batch(batch, self._input)
        if not len(batch):
            return self._nothing()
        step = self._input[0] or len(batch)
        return np.concatenate([self._chunk(batch[start : start + step], step) for start in range(0, len(batch), step)])

    def images(self, batch: UInt8) -> Floats:
        """See `protocol.PixelEngine`."""
        pixels = self._checked(batch)
        return self(to_numbers(batch, pixels))

    def _chunk(self, batch: Floats, size: int) -> Floats:
        """Run a chunk, filled up to `size` where the file fixes the batch."""
        rows = len(batch)
        if rows < size:
            batch = np.concatenate([batch, np.zeros((size - rows, *batch.shape[1:]), dtype=np.float32)])
        try:
            (output,) = self._session.run([self._names[1]], {self._names[0]: np.ascontiguousarray(batch)})
        except Exception as error:
            raise ModelError(f"{self._path} could not run a batch of {batch.shape}: {first_line(error)}") from error
        return np.asarray(output, dtype=np.float32)[:rows]


def _shape(sizes: list[int | str | None]) -> Shape:
    return tuple(size if isinstance(size, int) else None for size in sizes)
