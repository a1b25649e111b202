"""Run all speed benchmarks of one machine, as the table of docs/benchmarks/speed.md.

stages, pipeline, cameras held, matcher -> rows -> docs/benchmarks/speed.md between <!-- bench --> and <!-- /bench -->
"""

import platform
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benchmarks.speed import matcher, stages
from reid_stream.bench import live, pipeline
from reid_stream.bundles import catalog
from reid_stream.engines.cpus import cpu_count
from reid_stream.errors import ConfigError

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
CROWD = 10
"""People in every image of the second pipeline run."""
_LIVE_FPS = 10.0
_LIVE_S = 10.0


class SpeedTable(msgspec.Struct, frozen=True, kw_only=True):
    """All figures."""

    machine: str
    stages: Sequence[stages.Stage]
    pipelines: Sequence[pipeline.PipelineFigures]
    """Figures with the clip's own people, then with a crowd."""
    held: Sequence[live.LiveLoad]
    matcher: Sequence[matcher.MatcherTiming]


def measure(clip: Path, cameras: int, seconds: float, progress: Callable[[str], None]) -> SpeedTable:
    """Run them one after another, each with the whole machine.

    Raises:
        ReidStreamError: the clip cannot be read, or a bundle not be loaded.
    """
    progress("stages")
    alone = [
        stages.decode(clip, 600),
        stages.detector(clip, cameras, 40, "default"),
        stages.embedder(clip, 8, 100, "default"),
    ]
    progress("pipeline")
    whole = [
        pipeline.measure(
            clips=[clip],
            cameras=cameras,
            seconds=seconds,
            max_fps=10.0,
            detector="default",
            embedder="default",
            people=people,
        )
        for people in (None, CROWD)
    ]

    def holds(number: int) -> live.LiveLoad:
        progress(f"{number} live cameras")
        return live.hold([clip], number, _LIVE_FPS, _LIVE_S, detector="default", embedder="default")

    return SpeedTable(
        machine=_machine(),
        stages=alone,
        pipelines=whole,
        held=live.find_max(holds, cameras),
        matcher=matcher.measure(catalog.embedder("default")[1], (1_000, 10_000), None, 200, 60.0, progress),
    )


def markdown(whole: SpeedTable) -> str:
    """Return the table as Markdown."""
    rows = [
        (
            f"{one.stage} alone, {one.unit}, {one.batch} a call",
            f"{one.floor:.1f}/s",
            f"{one.achieved:.1f}/s",
            f"{one.share:.2f}",
            f"p50 {one.p50_ms:.1f}, p95 {one.p95_ms:.1f}, p99 {one.p99_ms:.1f} ms a call; {one.cores:.1f} cores",
        )
        for one in whole.stages
    ]
    rows += [
        (
            f"`bench pipeline`, {one.cameras} cameras {one.size[0]}x{one.size[1]}"
            + (f", {CROWD} people in every image" if number else ""),
            f"{one.ceiling:.1f} frames/s",
            f"{one.frames_per_s:.1f} frames/s",
            f"{one.share_of_ceiling:.2f}",
            "; ".join(
                (
                    f"{one.share_of_detector:.2f} of the raw detector",
                    f"{one.crops_per_frame:.2f} crops a frame",
                    f"first event after {one.first_event_s:.1f} s",
                    f"RSS {one.rss_mb:.0f} MB",
                )
            ),
        )
        for number, one in enumerate(whole.pipelines)
    ]
    best = max((load for load in whole.held if load.is_held), key=lambda load: load.cameras, default=None)
    if best is not None:
        due = best.cameras * best.fps
        rows.append(
            (
                f"`--find-max`: cameras held live at {best.fps:g} frames/s",
                f"{whole.pipelines[0].ceiling / best.fps:.1f}",
                str(best.cameras),
                f"{due / whole.pipelines[0].ceiling:.2f}",
                "; ".join(
                    (
                        f"{100 * best.used:.1f} % of frames used",
                        f"frame to event p50 {best.p50_ms:.0f}, p95 {best.p95_ms:.0f}, p99 {best.p99_ms:.0f} ms",
                        f"{best.cores:.1f} cores",
                        f"{best.memory_mb:.0f} MB, all processes",
                    )
                ),
            )
        )
    rows += [
        (
            f"`bench matcher`, update of 4 new tracks beside {one.identities:,} people",
            f"{one.matmul_ms:.2f} ms",
            f"{one.p50_ms:.1f} ms",
            f"{one.share_of_matmul:.2f}",
            f"p99 {one.p99_ms:.1f} ms; {one.bytes_per_identity / 1024:.1f} KiB an identity",
        )
        for one in whole.matcher
    ]
    lines = [
        f"| {whole.machine} | floor | achieved | share | |",
        "| --- | --- | --- | --- | --- |",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines)


def write(whole: SpeedTable, page: Path) -> None:
    """Put the table where the marks are.

    Raises:
        ConfigError: the file has no marks.
    """
    text = page.read_text(encoding="utf-8")
    marks = re.compile(f"{BEGIN}.*?{END}", re.DOTALL)
    if len(marks.findall(text)) != 1:
        raise ConfigError(f"{page} must have {BEGIN} and {END} once, around the table")
    page.write_text(marks.sub(lambda _: f"{BEGIN}\n{markdown(whole)}\n{END}", text), encoding="utf-8")


def _machine() -> str:
    names = re.findall(r"^model name\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    name = names[0] if names else platform.machine()
    return f"{cpu_count()} cores, {name}"


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
