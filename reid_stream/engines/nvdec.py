"""Convert frames that NVDEC left in GPU memory to RGB, with torch and without a copy to the host.

FFmpeg's planes are read through DLPack, without a copy, and let go as soon as they are RGB: a decoder has few of them.
Both work in the device's primary context and on its default stream, so that the decoder's writing comes before our
reading; the RGB is complete when the call returns, whichever stream reads it next.

Sources: ITU-R BT.601-7 section 2.5, BT.709-6 section 3, BT.2020-2 table 4 (luma coefficients); FFmpeg's swscale takes
BT.601 where unspecified. Its accurate mode gives the same pixels; its quick one, which serves images in
main memory, is on average 1.5 grey values darker.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as nn
from torch.utils.dlpack import from_dlpack

from reid_stream.engines.torch_ops import DevicePicture
from reid_stream.errors import ModelError

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_LUMA = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
"""AVColorSpace -> weights of red and blue in luma: BT.709, BT.2020."""
_LUMA_601 = (0.299, 0.114)
_FULL_RANGE = 2
"""AVColorRange of 0..255; all else is 16..235."""


class NvdecConverter:
    """Converter of images in GPU memory; see `ingest.convert.GpuConverter`."""

    def prepare(self) -> None:
        """Make torch's context this thread's own, for the decoder that is opened on it next."""
        if torch.cuda.is_available():
            torch.zeros(1, device="cuda")

    def __call__(self, picture: "VideoFrame", size: tuple[int, int] | None) -> DevicePicture:
        """Return a decoded image as RGB on the device that decoded it, scaled to `size` (width, height) by area.

        Raises:
            ModelError: its planes are not of a kind that decoders on GPUs give (NV12, P010, P016).
        """
        planes = picture.planes
        kind = (picture.sw_format or picture.format).name
        if len(planes) != 2:
            raise ModelError(
                f"a picture on the GPU must be nv12, p010le or p016le, got {kind}; set ingest.gpu_frames off"
            )
        with torch.inference_mode():
            # As capsules: asked by torch itself, FFmpeg's frames on a GPU refuse to wait for a stream that is named.
            luma, chroma = (from_dlpack(plane.__dlpack__()) for plane in planes)
            rgb = to_rgb(luma, chroma, int(picture.colorspace), is_full=int(picture.color_range) == _FULL_RANGE)
            if size is not None and size != (picture.width, picture.height):
                rgb = nn.interpolate(rgb[None], size=(size[1], size[0]), mode="area")[0]
            whole = rgb.round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()
        if whole.is_cuda:
            torch.cuda.current_stream(whole.device).synchronize()
        return DevicePicture(whole)


def to_rgb(luma: torch.Tensor, chroma: torch.Tensor, space: int, *, is_full: bool) -> torch.Tensor:
    """Turn luma (h, w) and chroma (about h/2, w/2, 2), of 8 or 16 bits, to RGB (3, h, w) float32 in [0, 255].

    Args:
        luma: brightness.
        chroma: blue and red differences, one for four pixels.
        space: FFmpeg's AVColorSpace.
        is_full: values use all of their range.
    """
    height, width = luma.shape
    bits = 1.0 if luma.dtype == torch.uint8 else 1 / 256
    small = chroma.permute(2, 0, 1)[None].float()
    whole = (height + height % 2, width + width % 2)
    apart = nn.interpolate(small, size=whole, mode="bilinear", align_corners=False)[0, :, :height, :width]
    red, blue = _LUMA.get(space, _LUMA_601)
    green = 1 - red - blue
    # Values of limited range: 219 steps of luma from 16 on, 224 of chroma around 128.
    step, spread, black = (1.0, 1.0, 0.0) if is_full else (255 / 219, 255 / 224, 16.0)
    grey = (luma.float() * bits - black) * step
    to_blue, to_red = (apart * bits - 128) * spread
    return torch.stack(
        [
            grey + 2 * (1 - red) * to_red,
            grey - 2 * (1 - blue) * blue / green * to_blue - 2 * (1 - red) * red / green * to_red,
            grey + 2 * (1 - blue) * to_blue,
        ]
    )
