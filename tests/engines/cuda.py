"""Stand-in for TensorRT's runtime with the same calls and addresses; OpenVINO computes."""

import ctypes
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import openvino


class FakeTensorRt:
    """What `tensorrt_engine` uses of the module; any plan runs the network it was given."""

    TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")

    class Logger:
        ERROR = 1

        def __init__(self, _severity: int) -> None: ...

    def __init__(
        self,
        model: Path,
        spoil: Callable[[np.ndarray], np.ndarray] = lambda answer: answer,
        takes: Callable[[bytes], bool] = bool,
    ) -> None:
        self._network, self._spoil, self._takes = openvino.Core().read_model(model), spoil, takes

    def Runtime(self, _logger: "FakeTensorRt.Logger") -> Any:  # noqa: N802 (as there)
        return SimpleNamespace(
            deserialize_cuda_engine=lambda plan: _Engine(self._network, self._spoil) if self._takes(plan) else None
        )


class _Engine:
    num_io_tensors = 2

    def __init__(self, network: Any, spoil: Callable[[np.ndarray], np.ndarray]) -> None:
        self.network, self.spoil = network, spoil
        self.ports = {"images": network.inputs[0].partial_shape, "answer": network.outputs[0].partial_shape}

    def get_tensor_name(self, index: int) -> str:
        return ("images", "answer")[index]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == "images" else "out"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size.get_length() if size.is_static else -1 for size in self.ports[name])

    def get_tensor_dtype(self, _name: str) -> Any:
        return SimpleNamespace(name="FLOAT")

    def get_tensor_profile_shape(self, name: str, _profile: int) -> list[tuple[int, ...]]:
        return [(size, *self.get_tensor_shape(name)[1:]) for size in (1, 16, 64)]

    def create_runtime_config(self) -> Any:
        cache = SimpleNamespace(serialize=lambda: b"kernels", deserialize=lambda _blob: True)
        return SimpleNamespace(create_runtime_cache=lambda: cache, set_runtime_cache=lambda _cache: True)

    def create_execution_context(self, *_config: Any) -> "_Context":
        return _Context(self)


class _Context:
    """Reads and writes memory at the addresses it is given, as the GPU would."""

    def __init__(self, engine: _Engine) -> None:
        self._engine, self._addresses = engine, dict[str, int]()
        self._shape: tuple[int, ...] = ()
        self._compiled: dict[tuple[int, ...], Any] = {}

    def set_input_shape(self, _name: str, shape: tuple[int, ...]) -> bool:
        self._shape = shape
        return 1 <= shape[0] <= 64

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def get_tensor_shape(self, _name: str) -> tuple[int, ...]:
        return tuple(self._now().outputs[0].shape)

    def execute_async_v3(self, _stream: int) -> bool:
        answer = self._engine.spoil(np.array(self._now()(self._at("images", self._shape))[0]))
        self._at("answer", answer.shape)[:] = answer
        return True

    def _now(self) -> Any:
        """Return the network for the shape set."""
        if self._shape not in self._compiled:
            network = self._engine.network.clone()
            network.reshape(list(self._shape))
            hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
            self._compiled[self._shape] = openvino.Core().compile_model(network, "CPU", hints)
        return self._compiled[self._shape]

    def _at(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        pointer = ctypes.cast(self._addresses[name], ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(pointer, shape)
