"""What a run shows: a bar on a terminal, plain lines in a pipe, TensorBoard, and every loss in losses.jsonl."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from trainer.config import TrainSettings
from trainer.siamese import Siamese


class Recorder:
    """Shows and stores the course of a run; a context manager."""

    def __init__(self, out: Path, steps: int, start: int, resume: bool) -> None:
        self.console = Console(soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=self.console, disable=not self.console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("training", total=steps, completed=start)
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=start)  # type: ignore[no-untyped-call]
        self._losses = out / "losses.jsonl"
        kept = self._losses.read_text().splitlines()[:start] if resume and self._losses.exists() else []
        self._file = self._losses.open("w", buffering=1)
        self._file.writelines(line + "\n" for line in kept)
        self._since, self._seen, self._sum, self._count = time.time(), 0, 0.0, 0
        self._began, self._images = time.time(), 0
        self._paused = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()
        self._board.close()  # type: ignore[no-untyped-call]
        self._file.close()

    @property
    def images_per_second(self) -> float:
        """Mean speed of the steps alone, validation and checkpoints left out."""
        return self._images / max(1e-9, time.time() - self._began - self._paused)

    def say(self, text: str) -> None:
        """Show one line."""
        self.console.print(text, markup=False, highlight=False)

    def step(self, step: int, loss: float, terms: dict[str, float], lr: float, images: int, every: int) -> None:
        """Record one step; show a line every `every`."""
        self._file.write(json.dumps({"step": step, "loss": loss, **terms}) + "\n")
        self._bar.update(self._task, completed=step, description=f"loss {loss:.3f}")
        self._seen += images
        self._images += images
        self._sum += loss
        self._count += 1
        if step % every:
            return
        speed = self._seen / max(1e-9, time.time() - self._since)
        parts = "  ".join(f"{name} {value:.3f}" for name, value in terms.items())
        self.say(f"step {step}  loss {self._sum / self._count:.3f}  {parts}  lr {lr:.2e}  {speed:.0f} images/s")
        for name, value in {"loss": self._sum / self._count, **terms, "lr": lr, "images_per_second": speed}.items():
            self._board.add_scalar(f"train/{name}", value, step)  # type: ignore[no-untyped-call]
        self._since, self._seen, self._sum, self._count = time.time(), 0, 0.0, 0

    def validation(self, step: int, score: dict[str, float]) -> None:
        """Record one validation."""
        self.say(f"step {step}  validation " + "  ".join(f"{name} {value:.3f}" for name, value in score.items()))
        for name, value in score.items():
            self._board.add_scalar(f"validation/{name}", value, step)  # type: ignore[no-untyped-call]
        self._paused += 0.0


def bare_speed(model: Siamese, forward: Callable[..., Any], settings: TrainSettings, fabric: Fabric) -> float:
    """Return images/s of forward and backward alone, on one batch that never changes."""
    data = settings.data
    count = settings.sampler.persons * settings.sampler.images
    images = torch.randn(count, 3, data.height, data.width).contiguous(memory_format=torch.channels_last)
    images = fabric.to_device(images)
    start = 0.0
    for step in range(8):
        if step == 3:  # the first ones warm up
            start = time.time()
        fabric.backward(forward(images)[1].square().mean())
        model.zero_grad(set_to_none=True)
    return count * 5 / (time.time() - start)
