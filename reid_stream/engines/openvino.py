"""OpenVINO on the CPU.

A batch is run image by image, side by side on as many streams as OpenVINO chooses, each with its own cores:
so any batch size costs what its images cost, nothing is padded, and only a new image size has to be compiled.
Measured on two cores against one batched call: YOLO11n 640x384, batch 4 and 8: 0.86 and 0.80 of the time; OSNet, batch
4 to 16: 0.67 to 0.9. A single image gets all cores.

Two batches may run, each from its own thread: the images of the second start where the first leaves a
stream idle at its end.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openvino as ov
import platformdirs
from openvino import properties
from openvino.preprocess import ColorFormat, PrePostProcessor
from openvino.properties import hint

from reid_stream.config.settings import Models
from reid_stream.engines.cpus import threads_for
from reid_stream.engines.onnx_io import EngineBase, Shape, check_batch, check_network, first_line
from reid_stream.engines.protocol import Floats, Pixels
from reid_stream.errors import ModelError
from reid_stream.images import UInt8

# Cameras of a site have few image sizes; a compiled network takes some ten megabytes.
_MAX_COMPILED = 16


class _Key(NamedTuple):
    height: int
    width: int
    is_pixels: bool
    is_single: bool


Requests = list[ov.InferRequest]


class _Compiled:
    """A network for one image size, with a set of inference requests for each thread that runs it."""

    def __init__(self, model: ov.CompiledModel, streams: int, requests: Requests) -> None:
        self.streams = streams
        self._model, self._count, self._idle = model, len(requests), [requests]

    def borrow(self) -> Requests:
        """Return an idle set."""
        with suppress(IndexError):
            return self._idle.pop()
        return [self._model.create_infer_request() for _ in range(self._count)]

    def give_back(self, requests: Requests) -> None:
        """Return a set for use by other threads."""
        self._idle.append(requests)


class OpenVinoEngine(EngineBase):
    """Run one ONNX network by OpenVINO; two threads may call."""

    def __init__(
        self, model: Path, settings: Models, *, pixels: Pixels | None = None, size: tuple[int, int] | None = None
    ) -> None:
        """Read the network; compile for `size` (height, width), if given or fixed by the network.

        Raises:
            ModelError: the file is no network of one image input, or OpenVINO cannot run it.
        """
        self._path, self._threads, self._pixels = model, threads_for(settings.threads), pixels
        self._core = ov.Core()
        _use_cache(self._core, model)
        self._is_bf16 = _is_bf16(self._core, settings.precision)
        try:
            self._network = self._core.read_model(model)
        except Exception as error:  # OpenVINO raises RuntimeError and its own kinds
            raise ModelError(
                f"{model} must be an ONNX or OpenVINO network: {first_line(error)}; export it again"
            ) from error
        inputs = [_shape(port.partial_shape) for port in self._network.inputs]
        check_network(model, inputs, len(self._network.outputs))
        self._input, self._output = inputs[0], _shape(self._network.outputs[0].partial_shape)
        self._has_int8_weights = any(
            node.get_type_name() == "Constant" and node.get_element_type() in (ov.Type.i8, ov.Type.u8)
            for node in self._network.get_ops()
        )
        self._is_int8 = any(node.get_type_name() == "FakeQuantize" for node in self._network.get_ops())
        if self._is_int8:
            # What is not int8 in such a network runs in f32: asked for bf16, OpenVINO 2026 finds no kernels for it.
            if settings.precision == "bf16":
                raise ModelError(f"models.precision must be auto or f32 for {model}, which computes in int8, got bf16")
            self._is_bf16 = False
        self._compiled: OrderedDict[_Key, _Compiled] = OrderedDict()
        self._compiling: dict[_Key, threading.Lock] = {}
        self._lock = threading.Lock()
        fixed = self._input[2:]
        if size is None and None not in fixed:
            size = (int(fixed[0] or 0), int(fixed[1] or 0))
        if size is not None:
            for is_single in (False, True):
                self._ready(_Key(*size, is_pixels=pixels is not None, is_single=is_single))

    @property
    def name(self) -> str:
        """`openvino cpu bf16`, `openvino cpu f32` or `openvino cpu int8`."""
        return f"openvino cpu {'int8' if self._is_int8 else 'bf16' if self._is_bf16 else 'f32'}"

    @property
    def lanes(self) -> int:
        """See `protocol.MultiLaneEngine`; 1 before anything was compiled."""
        with self._lock:  # another thread may be compiling for another size
            return max((known.streams for known in self._compiled.values()), default=1)

    def __call__(self, batch: Floats) -> Floats:
        """See `protocol.Engine`."""
        check_batch(batch, self._input)
        return self._run(np.ascontiguousarray(batch), batch.shape[2], batch.shape[3], is_pixels=False)

    def images(self, batch: UInt8) -> Floats:
        """See `protocol.PixelEngine`."""
        self._checked(batch)
        return self._run(np.ascontiguousarray(batch), batch.shape[1], batch.shape[2], is_pixels=True)

    def _run(self, batch: Floats | UInt8, height: int, width: int, *, is_pixels: bool) -> Floats:
        if not len(batch):
            return self._nothing()
        with self._borrowed(_Key(height, width, is_pixels, len(batch) == 1)) as requests:
            try:
                return self._roll(requests, batch)
            except Exception as error:
                for request in requests:  # the others may still read the batch, and would refuse the next one
                    with suppress(Exception):
                        request.wait()
                raise ModelError(f"{self._path} could not run a batch of {batch.shape}: {first_line(error)}") from error

    def _roll(self, requests: Requests, batch: Floats | UInt8) -> Floats:
        """Run image by image, each request taking the next image as soon as its last answer is copied out."""
        output: Floats | None = None
        width = len(requests)
        for index in range(len(batch) + width):
            request, done = requests[index % width], index - width
            if 0 <= done < len(batch):
                request.wait()
                answer = request.get_output_tensor(0).data
                if output is None:
                    output = np.empty((len(batch), *answer.shape[1:]), dtype=np.float32)
                output[done] = answer[0]
            if index < len(batch):
                request.start_async([ov.Tensor(batch[index : index + 1], shared_memory=True)])
        assert output is not None
        return output

    @contextmanager
    def _borrowed(self, key: _Key) -> Iterator[Requests]:
        compiled = self._ready(key)
        requests = compiled.borrow()
        try:
            yield requests
        finally:
            compiled.give_back(requests)

    def _ready(self, key: _Key) -> _Compiled:
        """Return the network compiled for an image size; the least used is forgotten."""
        with self._lock:
            if key in self._compiled:
                self._compiled.move_to_end(key)
                return self._compiled[key]
            compiling = self._compiling.setdefault(key, threading.Lock())
        with compiling:  # other sizes run meanwhile
            with self._lock:
                if key in self._compiled:
                    return self._compiled[key]
            return self._keep(key, self._compile(key))

    def _keep(self, key: _Key, compiled: _Compiled) -> _Compiled:
        with self._lock:
            if key.is_pixels:  # only the probe at the start uses f32 input; its compiled network would waste memory
                for plain in [known for known in self._compiled if not known.is_pixels]:
                    del self._compiled[plain]
            self._compiled[key] = compiled
            while len(self._compiled) > _MAX_COMPILED:
                self._compiled.popitem(last=False)
            return compiled

    def _compile(self, key: _Key) -> _Compiled:
        try:
            compiled = self._core.compile_model(self._shaped(key), "CPU", self._options(key))
            streams = 1 if key.is_single else max(1, compiled.get_property(properties.optimal_number_of_infer_requests))
            # Two to a stream: one waits while the other runs, so that no stream idles while an answer is copied.
            count = 1 if key.is_single else 2 * streams
            return _Compiled(compiled, streams, [compiled.create_infer_request() for _ in range(count)])
        except Exception as error:
            raise ModelError(
                f"{self._path} must take images of {key.width}x{key.height}: {first_line(error)}; "
                "choose another engine, or export it again"
            ) from error

    def _shaped(self, key: _Key) -> ov.Model:
        network = self._network.clone()
        if not key.is_pixels or self._pixels is None:
            network.reshape([1, 3, key.height, key.width])
            return network
        builder = PrePostProcessor(network)
        picture = builder.input()
        picture.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC")).set_color_format(ColorFormat.RGB)
        steps = picture.preprocess().convert_element_type(ov.Type.f32)
        if self._pixels.colour == "bgr":
            steps.convert_color(ColorFormat.BGR)
        steps.mean(list(self._pixels.mean)).scale(list(self._pixels.scale))
        picture.model().set_layout(ov.Layout("NCHW"))
        network = builder.build()
        network.reshape([1, key.height, key.width, 3])
        return network

    def _options(self, key: _Key) -> dict[str, Any]:
        mode = hint.PerformanceMode.LATENCY if key.is_single else hint.PerformanceMode.THROUGHPUT
        options: dict[Any, Any] = {
            hint.performance_mode: mode,
            hint.inference_precision: ov.Type.bf16 if self._is_bf16 else ov.Type.f32,
            # Decoders share the cores; a pinned thread would wait behind one while another core idles.
            hint.enable_cpu_pinning: False,
        }
        if self._threads:
            options[properties.inference_num_threads] = self._threads
        if self._has_int8_weights:
            # Compiled for several streams such weights come out differently from run to run (OpenVINO 2026).
            options[properties.num_streams] = 1
        return options


def _is_bf16(core: ov.Core, precision: str) -> bool:
    has = "BF16" in core.get_property("CPU", properties.device.capabilities)
    if precision == "bf16" and not has:
        raise ModelError("models.precision bf16 must be known to the CPU, and it is not; set it to auto or f32")
    return has and precision != "f32"


def _use_cache(core: ov.Core, model: Path) -> None:
    """Cache compiled networks on disk for a quick next start; without a cache if the folder cannot be written."""
    # One folder per content: OpenVINO's own key takes another network at the same path for the one it has compiled.
    files = [file for file in (model, model.with_suffix(".bin")) if file.is_file()]
    content = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    folder = Path(platformdirs.user_cache_dir("reid-stream")) / "openvino" / content
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError:
        return
    core.set_property({properties.cache_dir: str(folder)})


def _shape(partial: ov.PartialShape) -> Shape:
    return tuple(size.get_length() if size.is_static else None for size in partial)
