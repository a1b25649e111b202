"""Images -> unit vectors with a trained branch, for validation, evaluation and calibration.

Letters: n images, d embedding dimensions, h and w pixels.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from reid_stream.embed.preprocess import Floats, InputSpec, UInt8, normalise
from trainer.data.crops import Images


def embed_images(branch: nn.Module, images: Images, spec: InputSpec, flip: bool = True) -> Floats:
    """Return unit vectors (n, d) of images that have the network's size, or each its own."""
    if images.sizes is None:
        return embed(branch, images.pixels, spec, flip)
    found: dict[int, Floats] = {}
    for height, width in np.unique(images.sizes, axis=0).tolist():
        places = np.flatnonzero((images.sizes == (height, width)).all(axis=1))
        pixels = np.ascontiguousarray(images.pixels[places, :height, :width])
        vectors = embed(branch, pixels, replace(spec, height=height, width=width), flip)
        found |= dict(zip(places.tolist(), vectors, strict=True))
    return np.stack([found[place] for place in range(len(images))])


@torch.inference_mode()
def embed(branch: nn.Module, images: UInt8, spec: InputSpec, flip: bool = True, batch: int = 128) -> Floats:
    """Return unit vectors (n, d) of RGB images (n, h, w, 3) uint8 that already have the network's size.

    With `flip` the vectors of an image and of its mirror image are averaged (Zheng et al. 2016 sum them).
    """
    if images.ndim != 4 or images.shape[1:] != (spec.height, spec.width, 3) or images.dtype != np.uint8:
        raise ValueError(
            f"images must be (n, {spec.height}, {spec.width}, 3) uint8, got {images.shape} {images.dtype}; "
            "resize them first"
        )
    device = next(branch.parameters()).device
    training = branch.training
    branch.eval()
    parts = []
    for start in range(0, len(images), batch):
        block = torch.from_numpy(normalise(images[start : start + batch], spec)).to(device)
        block = block.contiguous(memory_format=torch.channels_last)
        vectors = branch(block).float()
        if flip:
            vectors = vectors + branch(block.flip(3)).float()
        parts.append(torch.nn.functional.normalize(vectors, dim=1).cpu().numpy())
    branch.train(training)
    return np.concatenate(parts) if parts else np.empty((0, 0), dtype=np.float32)
