"""torch on an NVIDIA GPU (or, slowly, the CPU): serves while a TensorRT engine is being built.

Batches are filled up to a power of two: few sizes, each specialised once and, on a GPU, captured as a CUDA graph, so
that a call is one launch rather than some hundred.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reid_stream.config.settings import Models
from reid_stream.engines.cpus import threads_for
from reid_stream.engines.onnx_io import check_batch, check_network
from reid_stream.engines.protocol import Floats, Pixels, to_numbers
from reid_stream.engines.tensorrt_library import Precision
from reid_stream.engines.torch_base import TorchBase
from reid_stream.errors import ModelError
from reid_stream.images import UInt8

_MOST = 64
"""Images at once; more are taken in turns."""
_capturing = threading.Lock()
"""torch captures one CUDA graph at a time in a process; detector and embedder run on threads of their own."""
_MAX_SIZES = 12
"""Sizes of input that are kept ready."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """A network for one size of input."""

    run: Callable[[Any], Any]


class TorchEngine(TorchBase):
    """Run one ONNX network by torch."""

    def __init__(
        self, model: Path, settings: Models, *, pixels: Pixels | None = None, device: str | None = None
    ) -> None:
        """Read the network.

        Args:
            model: an ONNX file.
            settings: precision; `auto` is f16 on a GPU and f32 on the CPU.
            pixels: see `load_engine`.
            device: of torch; none for the GPU where there is one.

        Raises:
            ModelError: torch is not there, or it cannot run this network.
        """
        try:
            import torch

            from reid_stream.engines.onnx_precision import strongly_typed
            from reid_stream.engines.onnx_to_torch import TorchGraph
        except ImportError as error:
            raise ModelError(f"engine torch needs the package {error.name}: pip install 'reid-stream[gpu]'") from error

        self._torch, self._path, self._pixels = torch, model, pixels
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._is_gpu = self._device.type == "cuda"
        small: Precision = "f16" if self._is_gpu else "f32"
        self._precision: Precision = small if settings.precision == "auto" else settings.precision
        threads = threads_for(settings.threads)
        if threads and not self._is_gpu:
            torch.set_num_threads(threads)
        try:
            self._network = TorchGraph(strongly_typed(model.read_bytes(), self._precision), str(self._device))
        except OSError as error:
            raise ModelError(f"a network must be a readable ONNX file; {model}: {error.strerror or error}") from error
        except ModelError as error:
            raise ModelError(f"{model}: {error}") from error
        check_network(model, self._network.inputs, len(self._network.outputs))
        self._input, self._output = self._network.inputs[0], self._network.outputs[0]
        self._ready: OrderedDict[tuple[int, ...], _Ready] = OrderedDict()
        self._turn = self._input[0] or _MOST
        self._place_pixels()

    @property
    def name(self) -> str:
        """`torch cuda f16`."""
        return f"torch {self._device.type} {self._precision}"

    def __call__(self, batch: Floats) -> Floats:
        """See `protocol.Engine`."""
        check_batch(batch, self._input)
        return self._run(np.ascontiguousarray(batch))

    def images(self, batch: UInt8) -> Floats:
        """See `protocol.PixelEngine`."""
        pixels = self._checked(batch)
        if not self._is_gpu:
            return self._run(to_numbers(batch, pixels))
        return self._run(np.ascontiguousarray(batch))

    def _on_stream(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def _infer(self, numbers: Any) -> Any:
        """Run numbers (b, 3, h, w) on the device; the answer stays there and is the caller's."""
        rows = len(numbers)
        size = self._input[0] or 1 << (rows - 1).bit_length()
        if rows < size:
            numbers = self._torch.cat([numbers, numbers.new_zeros((size - rows, *numbers.shape[1:]))])
        key = tuple(numbers.shape)
        if key in self._ready:
            self._ready.move_to_end(key)
        else:
            self._ready[key] = self._prepare(key)
            while len(self._ready) > _MAX_SIZES:
                self._ready.popitem(last=False)
        return self._ready[key].run(numbers)[:rows]

    def _prepare(self, shape: tuple[int, ...]) -> _Ready:
        step = self._network.at(shape)
        if not self._is_gpu:
            return _Ready(step)
        with _capturing:
            return _Ready(self._captured(step, shape))

    def _captured(self, step: Callable[[Any], Any], shape: tuple[int, ...]) -> Callable[[Any], Any]:
        """Capture a CUDA graph that reads and writes fixed places, after a few runs beside (as torch's manual says)."""
        torch = self._torch
        numbers = torch.zeros(shape, device=self._device)
        beside = torch.cuda.Stream(self._device)
        beside.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(beside):
            for _ in range(3):
                step(numbers)
        torch.cuda.current_stream(self._device).wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        # Another thread may be loading the engine that comes next.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            answer = step(numbers)

        def run(given: Any) -> Any:
            numbers.copy_(given)
            graph.replay()
            return answer.clone()  # the next call writes to the same place

        return run
