"""Progress of a run: a bar on a terminal, plain lines in a pipe, TensorBoard, and every loss in losses.jsonl."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from reid_stream.console.printable import printable_lines
from trainer.train.learner import Learner

Floats = npt.NDArray[np.float64]


class Recorder:
    """Show and store the course of a run; a context manager."""

    def __init__(self, out: Path, steps: int, start: int, resume: bool) -> None:
        self.console = Console(soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self._task = self._bar.add_task("training", total=steps, completed=start)
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=start)
        losses = out / "losses.jsonl"
        kept = losses.read_text().splitlines()[:start] if resume and losses.exists() else []
        self._file = losses.open("w", buffering=1)
        self._file.writelines(line + "\n" for line in kept)
        self._losses: list[float] = []
        """Since the last line that was shown."""
        self._seconds: list[Floats] = []
        """(wall, CPU) of every step, without pauses."""
        self._images = 0
        self._since = clocks()

    def __enter__(self) -> Self:
        self._bar.start()
        self._since = clocks()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        try:
            self._board.close()
            self._file.close()
        except OSError:
            if error is None:
                raise

    @property
    def seconds_per_image(self) -> Floats:
        """Wall and CPU seconds (2,) per image of the median step; validation and checkpoints are left out."""
        return np.median(self._seconds, axis=0) / self._images if self._seconds else np.full(2, np.inf)

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Exclude the time spent inside from the speed."""
        started = clocks()
        try:
            yield
        finally:
            self._since = self._since + clocks() - started

    def log(self, text: str) -> None:
        """Show one line."""
        self.console.print(printable_lines(text), markup=False, highlight=False)

    def step(self, step: int, loss: float, terms: dict[str, float], lr: float, images: int, every: int) -> None:
        """Record one step on a number of `images`; print a line every `every` steps."""
        now = clocks()
        self._seconds.append(now - self._since)
        self._since, self._images = now, images
        self._file.write(json.dumps({"step": step, "loss": loss, **terms}) + "\n")
        self._bar.update(self._task, completed=step, description=f"loss {loss:.3f}")
        self._losses.append(loss)
        if step % every:
            return
        count = len(self._losses)
        mean, speed = sum(self._losses) / count, images * count / float(np.sum(self._seconds[-count:], axis=0)[0])
        self._losses = []
        parts = "  ".join(f"{name} {value:.3f}" for name, value in terms.items())
        self.log(f"step {step}  loss {mean:.3f}  {parts}  lr {lr:.2e}  {speed:.0f} images/s")
        for name, value in {"loss": mean, **terms, "lr": lr, "images_per_second": speed}.items():
            self._board.add_scalar(f"train/{name}", value, step)

    def validation(self, step: int, score: dict[str, float]) -> None:
        """Record one validation."""
        self.log(f"step {step}  validation " + "  ".join(f"{name} {value:.3f}" for name, value in score.items()))
        for name, value in score.items():
            self._board.add_scalar(f"validation/{name}", value, step)


def clocks() -> Floats:
    """Return wall and CPU seconds (2,); on a shared machine only CPU seconds are comparable."""
    return np.array([time.perf_counter(), time.process_time()])


def bare_seconds_per_image(learner: Learner, steps: int = 10) -> Floats:
    """Return wall and CPU seconds (2,) per image of the median forward and backward alone, on one unchanging batch."""
    data, count = learner.settings.data, learner.settings.batch_size
    images = torch.randn(count, 3, data.height, data.width).contiguous(memory_format=torch.channels_last)
    images = learner.fabric.to_device(images)
    seconds: list[Floats] = []
    for _ in range(steps):
        started = clocks()
        loss = learner.forward(images)[1].square().mean()
        learner.fabric.backward(loss)
        learner.model.zero_grad(set_to_none=True)
        float(loss.detach())
        if images.is_cuda:
            torch.cuda.synchronize()
        seconds.append(clocks() - started)
    return np.median(seconds[steps // 3 :], axis=0) / count  # the first ones warm up
