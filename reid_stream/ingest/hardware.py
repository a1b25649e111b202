"""Decoding on a GPU."""

import contextlib
import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.codec.hwaccel import HWAccel

    from reid_stream.ingest.convert import GpuConverter


@functools.cache
def _device() -> str | None:
    """Return a kind of device that decodes H.264 on this machine; None if there is none.

    FFmpeg lists what it was built for, and does not survive a missing driver. Only creating a device shows whether the
    machine has one; this is done once a process.
    """
    import av
    from av.codec.hwaccel import HWAccel, hwdevices_available

    for device in ("cuda", "vaapi", "qsv"):
        if device in hwdevices_available():
            with contextlib.suppress(av.FFmpegError, OSError, NotImplementedError):
                HWAccel(device_type=device).create(av.Codec("h264", "r"))
                return device
    return None


def hardware(take_over: "GpuConverter | None" = None) -> "HWAccel | None":
    """Return the GPU to decode on, None if there is none; with `take_over` an NVIDIA GPU keeps images in its memory."""
    from av.codec.hwaccel import HWAccel

    device = _device()
    if device == "cuda" and take_over is not None:
        take_over.prepare()
        # Use the context of torch, since memory of another context cannot be read. It is current on this thread now;
        # FFmpeg refuses to ask for the primary context, since torch has set other flags on it than FFmpeg would.
        options: dict[str, object] = {"primary_ctx": "0", "current_ctx": "1"}
        return HWAccel(device_type=device, allow_software_fallback=True, options=options, is_hw_owned=True)
    return None if device is None else HWAccel(device_type=device, allow_software_fallback=True)
