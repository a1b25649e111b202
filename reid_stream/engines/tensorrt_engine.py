"""TensorRT or TensorRT-RTX on an NVIDIA GPU, from a plan that `build.get_plan` returned.

Images are copied to the GPU as bytes and become numbers there; answers come back in one copy a batch. Memory on the
GPU is torch's, so that what is computed before and after on the GPU needs no copy.
"""

from contextlib import AbstractContextManager, nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reid_stream.engines.onnx_io import Shape, check_batch, check_network, first_line
from reid_stream.engines.plan_cache import PlanKey
from reid_stream.engines.protocol import Floats, Pixels
from reid_stream.engines.torch_base import TorchBase
from reid_stream.errors import ModelError
from reid_stream.images import UInt8

if TYPE_CHECKING:
    import torch


class TensorRtEngine(TorchBase):
    """Run one plan. Not thread-safe, as every engine."""

    def __init__(
        self,
        plan: bytes,
        key: PlanKey,
        model: Path,
        *,
        pixels: Pixels | None = None,
        device: str = "cuda",
        trt: Any = None,
        runtime_cache: Path | None = None,
    ) -> None:
        """Load a plan.

        Args:
            plan: of `obtain`.
            key: of the plan.
            model: the ONNX file it came from, for messages.
            pixels: see `load_engine`.
            device: of torch.
            trt: the library; none for the one that the key names.
            runtime_cache: file where `tensorrt_rtx` keeps what it compiles when it runs; none for none.

        Raises:
            ModelError: the plan does not fit this library, driver or GPU, or torch is not there.
        """
        try:
            import torch
        except ImportError as error:
            raise ModelError(
                "engine tensorrt needs torch for the GPU's memory: pip install 'reid-stream[gpu]'"
            ) from error
        self._torch, self._path, self._pixels, self._key = torch, model, pixels, key
        self._trt = trt or import_module(key.library.split()[0])
        self._cache_file = runtime_cache
        self._cache: Any = None
        self._stream: Any = None
        try:
            self._device = torch.device(device)
            if self._device.type == "cuda":
                self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            self._logger = self._trt.Logger(self._trt.Logger.ERROR)  # must outlive the runtime
            self._runtime = self._trt.Runtime(self._logger)
            engine = self._runtime.deserialize_cuda_engine(plan)
            if engine is None:
                raise RuntimeError("the plan does not fit this library, driver or GPU")
            self._engine = engine
            self._context = self._new_context()
            if self._context is None:
                raise RuntimeError("no execution context, is the GPU's memory full?")
        except Exception as error:  # pybind's kinds and torch's
            raise ModelError(
                f"{key.library} must load the engine of {model} for {key.arch}: {first_line(error)}"
            ) from error
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT]
        outputs = [name for name in names if name not in inputs]
        check_network(model, [_shape(engine.get_tensor_shape(name)) for name in inputs], len(outputs))
        self._in, self._out = inputs[0], outputs
        self._input, self._output = (_shape(engine.get_tensor_shape(name)) for name in (self._in, outputs[0]))
        self._turn = int(engine.get_tensor_profile_shape(self._in, 0)[2][0])
        self._place_pixels()

    @property
    def name(self) -> str:
        """`tensorrt_rtx sm_86 f16`."""
        return f"{self._key.library.split()[0]} {self._key.arch} {self._key.precision}"

    def __call__(self, batch: Floats) -> Floats:
        """See `protocol.Engine`."""
        check_batch(batch, self._input)
        return self._run(np.ascontiguousarray(batch))

    def images(self, batch: UInt8) -> Floats:
        """See `protocol.PixelEngine`."""
        self._checked(batch)
        return self._run(np.ascontiguousarray(batch))

    def keep_kernels(self) -> None:
        """Keep on disk what was compiled while running, so that the next start is quick (`tensorrt_rtx`)."""
        if self._cache is None or self._cache_file is None:
            return
        with suppress(OSError):
            part = self._cache_file.with_name(f".{self._cache_file.name}")
            part.write_bytes(bytes(self._cache.serialize()))
            part.replace(self._cache_file)

    def _infer(self, numbers: "torch.Tensor") -> "torch.Tensor":
        """Run numbers (b, 3, h, w) float32 on the device; the answer stays there."""
        size = self._input[0]
        rows = len(numbers)
        if size is not None and rows < size:
            empty = numbers.new_zeros((size - rows, *numbers.shape[1:]))
            numbers = self._torch.cat([numbers, empty])
        numbers = numbers.contiguous()
        context = self._context
        if not context.set_input_shape(self._in, tuple(numbers.shape)):
            raise RuntimeError(f"images of {tuple(numbers.shape)} do not fit the engine's profile")
        context.set_tensor_address(self._in, numbers.data_ptr())
        answers = []
        for name in self._out:  # all must have room, the first is the answer
            shape = tuple(context.get_tensor_shape(name))
            answers.append(self._torch.empty(shape, dtype=self._dtype(name), device=self._device))
            context.set_tensor_address(name, answers[-1].data_ptr())
        if not context.execute_async_v3(self._stream.cuda_stream if self._stream is not None else 0):
            raise RuntimeError("the GPU refused the batch")
        if self._stream is not None:
            self._stream.synchronize()  # the input's memory must live until then
        return answers[0][:rows].float()

    def _dtype(self, name: str) -> "torch.dtype":
        found: torch.dtype = {
            "FLOAT": self._torch.float32, "HALF": self._torch.float16, "BF16": self._torch.bfloat16,
            "INT32": self._torch.int32, "INT64": self._torch.int64, "BOOL": self._torch.bool,
        }[self._engine.get_tensor_dtype(name).name]  # fmt: skip
        return found

    def _new_context(self) -> Any:
        """Return an execution context; with `tensorrt_rtx` one that keeps the kernels it compiles."""
        if not self._key.library.startswith("tensorrt_rtx"):
            return self._engine.create_execution_context()
        config = self._engine.create_runtime_config()
        self._cache = config.create_runtime_cache()
        if self._cache is not None:
            if self._cache_file is not None:
                with suppress(OSError):
                    self._cache.deserialize(self._cache_file.read_bytes())
            config.set_runtime_cache(self._cache)
        return self._engine.create_execution_context(config)

    def _on_stream(self) -> AbstractContextManager[Any]:
        return self._torch.cuda.stream(self._stream) if self._stream is not None else nullcontext()


def _shape(dims: Any) -> Shape:
    return tuple(int(size) if size >= 0 else None for size in dims)
