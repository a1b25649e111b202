"""A person detector: YOLO with 80 classes -> its person row alone -> fine-tuned -> ONNX with a single class.

    load_teacher -> one_class -> fine_tune -> blend -> export

The tuned network starts as the teacher: of the class head's rows only the person's is kept. A small set must move it
little: the backbone and all normalisation statistics are frozen, the learning rate is small, and the result lies
between teacher and tuned weights, which keeps what the teacher knows of other places.

Sources: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022 (the blend); ultralytics (AGPL-3.0) for
network, augmentation, loss and ONNX export. Only this command imports it.

Letters: b batch, n candidates, h and w pixels.
"""

import copy
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trainer.errors import CheckpointError, DataError, DivergedError

# ultralytics reads these when it is imported: nothing is installed or fetched behind the user's back.
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_VERBOSE", "false")

COCO_PERSON = 0
# Layers 0 to 10 of YOLO11 are the backbone (cfg/models/11/yolo11.yaml), the rest neck and head.
_BACKBONE_LAYERS = 11
_CLIP = 10.0  # ultralytics' own


@dataclass(frozen=True, slots=True)
class Tuning:
    """Settings of a fine-tuning."""

    epochs: int = 2
    size_px: int = 416
    """Side of the training pictures."""
    batch: int = 8
    lr: float = 1e-4
    """Learning rate of AdamW, falling linearly to a tenth."""
    blend: float = 0.5
    """0 is the teacher, 1 the tuned weights."""
    freeze_backbone: bool = True
    budget_minutes: float | None = None
    """Ends the training earlier."""
    seed: int = 1


def load_teacher(weights: Path, trust_pickle: bool = False) -> nn.Module:
    """Load a YOLO detection network of COCO's classes, in float32 and evaluation mode.

    A .pt file is a pickle, which can run any code while it is read. By default only the classes of torch and
    ultralytics that a network is made of are restored (`torch.load(weights_only=True)` with ultralytics' allow-list).

    Args:
        weights: a .pt file of ultralytics.
        trust_pickle: restore whatever the file names, and so run its code.

    Raises:
        CheckpointError: the file is not an ultralytics detection checkpoint, names other classes, or the installed
            ultralytics or torch cannot restrict them.
    """
    from ultralytics.models import YOLO
    from ultralytics.nn import tasks
    from ultralytics.nn.tasks import DetectionModel

    if not weights.is_file():
        raise CheckpointError(f"the teacher's weights must be a .pt file, {weights} is none; name one with --weights")
    module: Any = tasks
    guard = getattr(module, "_SafeLoad", None)
    if not trust_pickle and not (guard is not None and guard.SUPPORTED):
        raise CheckpointError(
            f"the teacher's weights can only be read safely by a newer ultralytics and torch; update them, or "
            f"run the code that {weights} may contain with --trust-pickle"
        )
    usual = getattr(module, "SAFE_LOAD", False)
    module.SAFE_LOAD = not trust_pickle  # read by ultralytics whenever it loads a checkpoint
    try:
        model: Any = YOLO(str(weights), task="detect").model
    except Exception as error:  # whatever the file holds can go wrong
        if not trust_pickle and "references types outside" in str(error):
            raise CheckpointError(
                f"the teacher's weights must hold nothing but an ultralytics network, {weights} names other code, "
                "which loading would run; if you trust its source, load it with --trust-pickle"
            ) from error
        raise CheckpointError(f"the teacher's weights must be an ultralytics checkpoint, {weights}: {error}") from error
    finally:
        module.SAFE_LOAD = usual
    if not isinstance(model, DetectionModel) or model.names.get(COCO_PERSON) != "person":
        raise CheckpointError(f"the teacher must be a detector whose class 0 is person, {weights} is not")
    network: nn.Module = model.float().eval()
    return network


def one_class(teacher: nn.Module) -> nn.Module:
    """Return a copy that knows persons only, with the teacher's own scores and boxes for them."""
    model: Any = copy.deepcopy(teacher)
    head = model.model[-1]
    for branch in head.cv3:
        many = branch[-1]
        one = nn.Conv2d(many.in_channels, 1, many.kernel_size)
        person = slice(COCO_PERSON, COCO_PERSON + 1)
        one.load_state_dict({name: value[person].clone() for name, value in many.state_dict().items()})
        branch[-1] = one
    head.nc, head.no = 1, 1 + 4 * head.reg_max
    model.yaml = {**model.yaml, "nc": 1}
    model.names = {0: "person"}
    network: nn.Module = model
    return network


def fine_tune(model: nn.Module, data: Path, tuning: Tuning, log: Callable[[str], None]) -> int:
    """Train in place on a folder of images/ and labels/; return the number of steps done.

    Raises:
        DivergedError: the loss is not a finite number.
        DataError: there are no pictures.
    """
    torch.manual_seed(tuning.seed)
    random.seed(tuning.seed)  # ultralytics draws its augmentation from these two
    np.random.seed(tuning.seed)  # noqa: NPY002
    loader = _loader(data, model, tuning)
    trained = _freeze(model, tuning.freeze_backbone)
    optimiser = torch.optim.AdamW(trained, lr=tuning.lr, weight_decay=0.0)
    total = tuning.epochs * len(loader)
    started = time.monotonic()
    limit_s = float("inf") if tuning.budget_minutes is None else tuning.budget_minutes * 60
    for step, batch in enumerate(_batches(loader, tuning.epochs)):
        spent = time.monotonic() - started
        if spent > limit_s:
            log(f"step {step} of {total}: the budget of {tuning.budget_minutes:g} minutes is spent")
            return step
        for group in optimiser.param_groups:
            group["lr"] = tuning.lr * (1 - 0.9 * max(step / total, spent / limit_s))
        batch["img"] = batch["img"].float() / 255  # (b, 3, h, w)
        losses, _ = model.loss(batch)  # type: ignore[operator]
        loss = losses.sum() / len(batch["img"])
        if not torch.isfinite(loss):
            raise DivergedError(f"the loss must stay finite, got {loss.item()} at step {step}; lower --lr")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, _CLIP)
        optimiser.step()
        if step % 5 == 0 or step + 1 == total:
            log(f"step {step + 1} of {total}  loss {loss.item():.3f}  {time.monotonic() - started:.0f} s")
    return total


def blend(teacher: nn.Module, tuned: nn.Module, share: float) -> nn.Module:
    """Return a network whose weights lie at `share` of the way from teacher to tuned; both have one class."""
    mixed = copy.deepcopy(tuned).eval()
    start, end = teacher.state_dict(), tuned.state_dict()
    mixed.load_state_dict(
        {
            name: torch.lerp(start[name], value, share) if value.is_floating_point() else value
            for name, value in end.items()
        }
    )
    return mixed


def export(model: nn.Module, folder: Path, name: str) -> Path:
    """Write NAME.pt and NAME.onnx: images (b, 3, h, w), any size; output0 (b, 4 + classes, n)."""
    from ultralytics.models import YOLO

    folder.mkdir(parents=True, exist_ok=True)
    network: Any = copy.deepcopy(model).eval()
    network.criterion = None
    torch.save({"model": network, "train_args": {"task": "detect", "imgsz": 640}}, folder / f"{name}.pt")
    exported = YOLO(str(folder / f"{name}.pt"), task="detect").export(
        format="onnx", dynamic=True, imgsz=640, simplify=True, device="cpu", verbose=False
    )
    return Path(exported)


def halve_weights(model: Path, out: Path) -> None:
    """Store an ONNX file's weights in 16 bits with a cast behind each: half the size, the same float32 arithmetic."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    network = onnx.load(str(model))
    casts = []
    for weight in network.graph.initializer:
        values = numpy_helper.to_array(weight) if weight.data_type == TensorProto.FLOAT else None
        if values is None or values.size < 64:  # small ones cost nothing and may be coordinates
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype("float16"), f"{name}_f16"))
        casts.append(helper.make_node("Cast", [f"{name}_f16"], [name], f"{name}_f32", to=TensorProto.FLOAT))
    for position, cast in enumerate(casts):
        network.graph.node.insert(position, cast)
    del network.graph.value_info[:]  # shapes between the layers, a megabyte that every engine works out again
    onnx.checker.check_model(network)
    onnx.save(network, str(out))


def _loader(data: Path, model: nn.Module, tuning: Tuning) -> Any:
    """Return ultralytics' loader: letterbox, scale, shift, colour, mirror, but no mosaic, which cuts people apart."""
    from ultralytics.cfg import get_cfg
    from ultralytics.data.build import build_yolo_dataset
    from ultralytics.utils import DEFAULT_CFG

    if not any((data / "images").glob("*.jpg")):
        raise DataError(f"a detector must learn from pictures, {data / 'images'} has none")
    changes = {"mosaic": 0.0, "scale": 0.3, "hsv_h": 0.01, "hsv_s": 0.4, "hsv_v": 0.3}
    settings: Any = get_cfg(DEFAULT_CFG, {"task": "detect", "imgsz": tuning.size_px, **changes})
    model.args = settings  # the loss reads its weights from here
    (data / "labels.cache").unlink(missing_ok=True)  # of an earlier run
    names = {"names": {0: "person"}, "nc": 1, "channels": 3}
    pictures: Any = build_yolo_dataset(settings, str(data / "images"), tuning.batch, names, mode="train", stride=32)
    order = torch.Generator().manual_seed(tuning.seed)
    return torch.utils.data.DataLoader(
        pictures, tuning.batch, shuffle=True, drop_last=len(pictures) >= tuning.batch, generator=order,
        collate_fn=pictures.collate_fn,
    )  # fmt: skip


def _batches(loader: Any, epochs: int) -> Iterator[dict[str, Any]]:
    for _ in range(epochs):
        yield from loader


def _freeze(model: nn.Module, freeze_backbone: bool) -> list[nn.Parameter]:
    """Set the network to train and return what is to move; normalisation keeps its statistics.

    They are the teacher's; a few hundred pictures in small batches would only add noise, and where a network was
    rebuilt from fused weights they are 0 and 1, with scale and shift in the convolutions.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    for name, parameter in model.named_parameters():
        layer = int(name.split(".")[1])
        parameter.requires_grad = ".dfl." not in name and not (freeze_backbone and layer < _BACKBONE_LAYERS)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
