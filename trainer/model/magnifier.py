"""MagnifierNet: the whole person beside its parts, images (b, 3, h, w) -> 2048 + 1024 + 1024 numbers.

| branch | from | vector |
| --- | --- | --- |
| global | average of the last map | what is seen at a glance |
| Semantic Adversarial Branch | maximum of the map before it; while learning, some regions are erased | details |
| Semantic Fusion Branch | maximum of that map within each body region, one after another through an LSTM | parts |

Body regions are labels 0 to 7: background, head, three of the upper and three of the lower body. Where label maps teach
them, a segmentation head learns to see them and service uses what it sees; without any, they are soft horizontal
stripes, the same for every picture, in training and in service: then the branches drop and fuse stripes, as batch
dropblock and part pooling do, and the losses are called so.

Source: Lan et al., "MagnifierNet", BMVC 2020 (arXiv 2002.10979), after its code, NIRVANALAN/magnifiernet_reid
(MIT): `MaskHead`, `SegmentBatchDrop`, `PartDistanceHead`, `MT_Net`. Three things differ: labels are resized by their
nearest neighbour, not blended; a region without a pixel leaves the LSTM as it was, where the code feeds it zeros; one
picture alone is as good as many.

Letters: b images, r regions, c channels, d dimensions, h and w of a map.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from timm.models.resnet import Bottleneck
from torch import Tensor, nn

from trainer.config import ModelSettings
from trainer.data.batch import Features
from trainer.errors import TrainerError
from trainer.model.backbones import Backbone
from trainer.model.branch import Branch, bn_neck

REGIONS = 8
"""Background, and seven of the body."""
UPPER, LOWER = (1, 2, 3, 4), (5, 6, 7)
"""`upper_torso` and `lower_torso` of the code: the head counts as upper."""
ERASED_UPPER, ERASED_LOWER = 2, 1
"""Regions erased at a time (`random.sample` in `SegmentBatchDrop`)."""


class MagnifierBranch(Branch):
    """One stream; the only part that is deployed. `features` are those that are served, in training too."""

    def __init__(self, settings: ModelSettings) -> None:
        nn.Module.__init__(self)
        self.settings = settings
        self.backbone = Backbone(settings)
        if not hasattr(self.backbone.net, "layer3"):
            raise TrainerError(f"model.descriptor magnifier needs a network of stages, got {settings.backbone}")
        last = self.backbone.num_features
        fine = last // 2  # timm's stages double their channels
        self.segmentation = SegmentationHead(last) if settings.regions != "stripes" else None
        self.adversarial = AdversarialBranch(fine) if settings.adversarial else None
        self.fusion = FusionBranch(fine) if settings.fusion else None
        self.neck = bn_neck(last)
        self.dim = last + fine * (settings.adversarial + settings.fusion)
        self.reduction: nn.Linear | None = None

    def features(self, images: Tensor) -> Features:
        """Return the vectors of images (b, 3, h, w), and in `extra` the maps that the losses look at again."""
        fine, last = self.maps(images)
        whole = last.float().mean(dim=(2, 3))  # (b, c)
        before, after = [whole], [self.neck(whole)]
        extra = {"whole": whole, "whole_after": after[0]}
        if self.segmentation is not None:
            extra["segmentation"] = self.segmentation(last)
        if self.adversarial is not None:
            extra["adversarial"] = maps = self.adversarial.maps(fine)
            vector = self.adversarial(maps)
            before.append(vector)
            after.append(as_served(self.adversarial.neck, vector))
        if self.fusion is not None:
            extra["fusion"] = maps = self.fusion.maps(fine)
            vector, _, _ = self.fusion(maps, self.masks(maps, extra.get("segmentation")))
            before.append(vector)
            after.append(as_served(self.fusion.neck, vector))
        return Features(torch.cat(before, dim=1), torch.cat(after, dim=1), extra)

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps of the third and the last stage, (b, c/2, h, w) and (b, c, h, w)."""
        net = cast("Any", self.backbone.net)
        stem = net.maxpool(net.act1(net.bn1(net.conv1(images))))
        fine: Tensor = net.layer3(net.layer2(net.layer1(stem)))
        return fine, net.layer4(fine)

    def masks(self, maps: Tensor, segmentation: Tensor | None) -> Tensor:
        """Return where each region lies on `maps` as the network itself sees it: (b, r, h, w), or (1, r, h, w)."""
        height, width = maps.shape[2:]
        if segmentation is None:
            return stripes(height, width).to(maps.device)
        logits = segmentation
        if logits.shape[2:] != maps.shape[2:]:
            logits = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
        return one_hot(logits.argmax(dim=1))


class SegmentationHead(nn.Module):
    """The last map -> logits of the regions at twice its size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(8, channels // 8)  # 256 of 2048
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(channels, inner, 3, stride=2, padding=1, output_padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, REGIONS, 1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return logits (b, r, 2h, 2w) of maps (b, c, h, w)."""
        logits: Tensor = self.layers(maps)
        return logits.float()


class AdversarialBranch(nn.Module):
    """Semantic Adversarial Branch: identification while regions are erased."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.maps = Bottleneck(channels, channels // 4)
        self.reduce = nn.Linear(channels, channels, bias=False)  # the 1x1 convolution of a pooled map
        self.neck = bn_neck(channels)
        nn.init.kaiming_normal_(self.reduce.weight, mode="fan_out", nonlinearity="linear")

    def forward(self, maps: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return vectors (b, c) of maps (b, c, h, w), of which only `kept` (b or 1, 1, h, w), 0 to 1, is left."""
        seen = maps if kept is None else maps * kept
        vectors: Tensor = self.reduce(seen.amax(dim=(2, 3)))
        return vectors.float()


class FusionBranch(nn.Module):
    """Semantic Fusion Branch: the regions' vectors one after another through an LSTM, with gates."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.maps = Bottleneck(channels, channels // 4)
        self.lstm = GatedSequence(channels)
        self.neck = bn_neck(channels)

    def forward(self, maps: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return fused vectors (b, c), the regions' own (b, r, c) and which have a pixel (b, r), of maps (b, c, h, w).

        `masks` are (b or 1, r, h, w), 0 to 1.
        """
        maps = maps.float()
        pooled = [(maps * masks[:, index : index + 1]).amax(dim=(2, 3)) for index in range(REGIONS)]
        parts = torch.stack(pooled, dim=1)  # (b, r, c)
        present = (masks.amax(dim=(2, 3)) > 0).to(maps.dtype) * torch.ones_like(parts[:, :, 0])  # (b, r)
        return self.lstm(parts, present), parts, present


class GatedSequence(nn.Module):
    """An LSTM over few steps, of which some may be missing: the last hidden state.

    Two plain products for `torch.nn.LSTM`'s one, the same numbers: exported, they keep their weights' names.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.input, self.hidden = nn.Linear(size, 4 * size), nn.Linear(size, 4 * size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(size**-0.5), size**-0.5)  # as torch.nn.LSTM

    def forward(self, steps: Tensor, present: Tensor) -> Tensor:
        """Return the state (b, d) after steps (b, s, d), those with `present` (b, s) 0 left out, not fed as zeros."""
        hidden = memory = torch.zeros_like(steps[:, 0])
        for index in range(steps.shape[1]):
            gates = self.input(steps[:, index]) + self.hidden(hidden)  # (b, 4d)
            take, keep, new, give = torch.split(gates, self.size, dim=1)
            later = torch.sigmoid(keep) * memory + torch.sigmoid(take) * torch.tanh(new)
            output = torch.sigmoid(give) * torch.tanh(later)
            there = present[:, index : index + 1]
            memory, hidden = memory + there * (later - memory), hidden + there * (output - hidden)
        return hidden


def stripes(height: int, width: int) -> Tensor:
    """Return seven soft stripes from head to feet (1, r, height, width); there is no background.

    Each is 1 at its own middle and falls to 0 at its neighbours' middles, so that they overlap and add up to 1.

    >>> stripes(14, 1)[0, 1:3, :5, 0].round(decimals=2).tolist()
    [[1.0, 0.75, 0.25, 0.0, 0.0], [0.0, 0.25, 0.75, 0.75, 0.25]]
    """
    middles = (torch.arange(REGIONS - 1) + 0.5) / (REGIONS - 1)
    rows = ((torch.arange(height) + 0.5) / height).clamp(float(middles[0]), float(middles[-1]))
    hats = (1 - (rows[None] - middles[:, None]).abs() * (REGIONS - 1)).clamp(min=0)  # (7, h)
    soft = torch.cat([torch.zeros(1, height), hats])
    return soft[None, :, :, None].expand(1, REGIONS, height, width)


def one_hot(labels: Tensor) -> Tensor:
    """Return labels (b, h, w) as masks (b, r, h, w) of zeros and ones."""
    classes = torch.arange(REGIONS, device=labels.device).view(1, REGIONS, 1, 1)
    return (labels[:, None] == classes).float()


def as_served(neck: nn.Module, vectors: Tensor) -> Tensor:
    """Return vectors (b, d) normalised as in service, also while learning: by the statistics so far, which stay.

    These statistics are learnt from what the losses make of the same branch.
    """
    own = cast("nn.BatchNorm1d", neck)
    return F.batch_norm(vectors, own.running_mean, own.running_var, own.weight, own.bias, training=False, eps=own.eps)
