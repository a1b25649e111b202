"""Build a TensorRT engine while another one serves: get a plan, load and check it, else try the next precision.

f16 -> (refused by the comparison) bf16 -> f32; `models.precision` names it, unless it is `auto`
"""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from reid_stream.bundles.bundle import Bundle
from reid_stream.engines.accuracy_check import Parity
from reid_stream.engines.build import get_plan, key_of
from reid_stream.engines.build_worker import BuildProgress
from reid_stream.engines.hot_swap import SwapEngine
from reid_stream.engines.plan_cache import PlanCache, PlanKey
from reid_stream.engines.plan_check import compare_engines, pixels_of
from reid_stream.engines.protocol import PixelEngine, Pixels
from reid_stream.engines.tensorrt_engine import TensorRtEngine
from reid_stream.engines.tensorrt_library import Precision, TensorRtLibrary
from reid_stream.errors import ModelError
from reid_stream.images import UInt8

PRECISIONS: tuple[Precision, ...] = ("f16", "bf16", "f32")
_SAMPLES_S = 60.0
"""Longest wait for images to compare on, seconds; in an empty scene the probe alone is used."""
_ENOUGH = {"embedder": 32, "detector": 4}
_REPORT_S = 10.0


@dataclass(slots=True)
class TensorRtPreparation:
    """Makes the TensorRT engine of one bundle."""

    bundle: Bundle
    model: Path
    library: TensorRtLibrary
    arch: str
    precisions: Sequence[Precision] = PRECISIONS
    pixels: Pixels | None = None
    plans: PlanCache = field(default_factory=PlanCache)
    samples_s: float = _SAMPLES_S

    @property
    def label(self) -> str:
        """`tensorrt_rtx for sm_86`."""
        return f"{self.library.name} for {self.arch}"

    def ready(self) -> TensorRtEngine | None:
        """Return the engine at once if its plan exists and passed the comparison before, else none.

        Raises:
            ModelError: the plan cannot be loaded here.
        """
        for precision in self.precisions:
            key = self._key(precision)
            plan, _ = self.plans.read(key)
            parity = self.plans.checked(key, plan) if plan is not None else None
            if plan is None or parity is None or not self._is_enough(parity):
                return None
            if not parity.faults:
                return self._load(plan, key)
        return None

    def __call__(self, swap: SwapEngine, stop: threading.Event) -> PixelEngine | None:
        """See `swap.Preparation`."""
        pictures: list[UInt8] | None = None
        for precision in self.precisions:
            key = self._key(precision)
            swap.report(f"{self.label} in {precision}: looking for it")
            found = get_plan(
                key, self.model, self.plans, report=swap.report, progress=_BuildReporter(swap, self.label), stop=stop
            )
            parity = self.plans.checked(key, found.plan)
            if parity is not None and parity.faults:
                swap.report(f"{self.label} in {precision} was refused before: {'; '.join(parity.faults)}")
                continue
            try:
                engine = self._load(found.plan, key)
            except ModelError as error:
                if found.origin == "built":
                    raise
                swap.report(f"{error}; building it again")
                self.plans.discard(key)
                found = get_plan(
                    key,
                    self.model,
                    self.plans,
                    report=swap.report,
                    progress=_BuildReporter(swap, self.label),
                    stop=stop,
                )
                engine, parity = self._load(found.plan, key), self.plans.checked(key, found.plan)
            if parity is None or not self._is_enough(parity):
                swap.report(f"{self.label} in {precision} is {found.origin}; comparing it with float32")
                if pictures is None:
                    pictures = _by_size(swap.samples(_ENOUGH[self.bundle.kind], self.samples_s))
                parity = compare_engines(self.bundle, self.model.parent, engine, pictures)
                with suppress(OSError):  # compared again at the next start
                    self.plans.remember(key, found.plan, parity)
                engine.keep_kernels()
            if stop.is_set():
                return None
            if not parity.faults:
                return engine
            swap.report(f"{self.label} in {precision} is refused: {'; '.join(parity.faults)}")
        swap.report(f"{self.label} does not agree with float32 in any precision; {swap.name} serves on")
        return None

    def _is_enough(self, parity: Parity) -> bool:
        """Whether a comparison decides: of an embedder, if it used real crops or failed."""
        return bool(parity.faults) or parity.ranked is not None or self.bundle.kind != "embedder"

    def _key(self, precision: Precision) -> PlanKey:
        return key_of(self.bundle, self.model.parent, self.library, self.arch, precision)

    def _load(self, plan: bytes, key: PlanKey) -> TensorRtEngine:
        pixels = self.pixels or pixels_of(self.bundle)
        return TensorRtEngine(plan, key, self.model, pixels=pixels, runtime_cache=self.plans.kernels(key))


class _BuildReporter:
    """Reports the progress of a build at intervals."""

    def __init__(self, swap: SwapEngine, label: str) -> None:
        self._swap, self._label, self._reported_at = swap, label, 0.0

    def __call__(self, step: BuildProgress) -> None:
        self._swap.share = step.share
        self._swap.note = f"{self._label} is being built: {step.share:.0%}, {step.phase}"
        if time.monotonic() - self._reported_at >= _REPORT_S:
            self._reported_at = time.monotonic()
            self._swap.report(self._swap.note)


def _by_size(pictures: Sequence[UInt8]) -> list[UInt8]:
    """Put images of one size into one array."""
    sizes = dict.fromkeys(batch.shape[1:] for batch in pictures)
    return [np.concatenate([batch for batch in pictures if batch.shape[1:] == size]) for size in sizes]
