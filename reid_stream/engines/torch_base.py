"""Base class of the engines whose tensors are torch's: images in, network, people or vectors out."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from reid_stream.engines.onnx_io import EngineBase, first_line
from reid_stream.engines.protocol import DetectRequest, Floats, Pixels
from reid_stream.errors import ModelError
from reid_stream.images import OnDevice, Picture, UInt8

if TYPE_CHECKING:
    import torch

R = TypeVar("R")


class TorchBase(EngineBase):
    """See `protocol.DeviceEngine`."""

    _device: "torch.device"
    _turn: int
    """Images that run at once; more are taken in turns."""
    _mean: "torch.Tensor"
    _factor: "torch.Tensor"

    @property
    def runs_on_device(self) -> bool:
        """Always: what comes before and after the network is torch's as well."""
        return True

    def people(self, pictures: Sequence[Picture], asked: DetectRequest) -> list[tuple[Floats, Floats]]:
        """See `protocol.DeviceEngine`."""
        from reid_stream.engines import torch_ops

        def work() -> list[torch_ops.Found]:
            return torch_ops.people(self._through(torch_ops.letterbox(pictures, asked, self._device)), asked)

        return self._at_work(work, len(pictures)) if pictures else []

    def vectors(self, crops: Sequence[OnDevice], size: tuple[int, int]) -> Floats:
        """See `protocol.DeviceEngine`."""
        from reid_stream.engines import torch_ops

        def work() -> Floats:
            answer: Floats = self._through(torch_ops.stretch(crops, size, self._device)).float().cpu().numpy()
            return answer

        return self._at_work(work, len(crops)) if crops else self._nothing()

    def letterboxed(self, pictures: Sequence[Picture], asked: DetectRequest) -> UInt8:
        """See `protocol.DeviceEngine`."""
        from reid_stream.engines import torch_ops

        def work() -> UInt8:
            drawn: UInt8 = torch_ops.letterbox(pictures, asked, self._device).cpu().numpy()
            return drawn

        return self._at_work(work, len(pictures))

    def stretched(self, crops: Sequence[OnDevice], size: tuple[int, int]) -> UInt8:
        """See `protocol.DeviceEngine`."""
        from reid_stream.engines import torch_ops

        def work() -> UInt8:
            drawn: UInt8 = torch_ops.stretch(crops, size, self._device).cpu().numpy()
            return drawn

        return self._at_work(work, len(crops))

    def _place_pixels(self) -> None:
        """Move the normalization constants to the device once."""
        import torch

        of = self._pixels or Pixels()
        self._mean, self._factor = (
            torch.tensor(values, dtype=torch.float32, device=self._device)
            for values in (of.mean, [1 / scale for scale in of.scale])
        )

    def _run(self, batch: Floats | UInt8) -> Floats:
        """Run numbers (b, 3, h, w) or RGB images (b, h, w, 3) uint8, contiguous, in main memory."""
        import torch

        if not len(batch):
            return self._nothing()

        def work() -> Floats:
            answer: Floats = self._through(torch.from_numpy(batch)).float().cpu().numpy()
            return answer

        return self._at_work(work, len(batch))

    def _through(self, pictures: "torch.Tensor") -> "torch.Tensor":
        """Run RGB images (b, h, w, 3) uint8, or numbers (b, 3, h, w), from either memory; the answer stays there."""
        import torch

        parts = []
        for start in range(0, len(pictures), self._turn):
            there = pictures[start : start + self._turn].to(self._device)
            parts.append(self._infer(self._to_numbers(there) if there.dtype == torch.uint8 else there))
        return torch.cat(parts)

    def _to_numbers(self, pictures: "torch.Tensor") -> "torch.Tensor":
        """Turn RGB (b, h, w, 3) uint8 on the device into (b, 3, h, w) float32."""
        assert self._pixels is not None
        ordered = pictures if self._pixels.colour == "rgb" else pictures.flip(3)
        return ((ordered.float() - self._mean) * self._factor).permute(0, 3, 1, 2).contiguous()

    @abstractmethod
    def _infer(self, numbers: "torch.Tensor") -> "torch.Tensor":
        """Run numbers (b, 3, h, w) float32 on the device, `_turn` at most; the answer stays there."""

    @abstractmethod
    def _on_stream(self) -> AbstractContextManager[Any]:
        """Return the block in which the device's work is ordered."""

    def _at_work(self, work: Callable[[], R], count: int) -> R:
        """Do work on the device.

        Raises:
            ModelError: torch, or what it calls, refused.
        """
        import torch

        try:
            with torch.inference_mode(), self._on_stream():
                return work()
        except ModelError as error:
            raise ModelError(f"{self._path}: {error}") from error
        except Exception as error:  # torch's own kinds
            raise ModelError(f"{self._path} could not run {count} pictures: {first_line(error)}") from error
