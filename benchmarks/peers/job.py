"""Job and result of a peer, as JSON, since peers run in an environment of their own.

    python peer_ultralytics.py JOB.json  ->  per clip OUT/<name>.txt (MOT text) and a JSON line {name, frames, seconds}

This file and the peers' own import nothing of the project, so that they run where it is not installed.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Row = tuple[int, int, float, float, float, float, float]
"""Frame from 1, track, left, top, width, height, score."""


def clips() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (name, video, the whole job) of each clip of the job that the command line names."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for name, video in job["clips"].items():
        yield name, video, job


def answer(name: str, job: dict[str, Any], follow: Callable[[], Iterable[list[Row]]]) -> None:
    """Track a clip, write OUT/<name>.txt, and print name, frames and seconds (without loading) as JSON."""
    began, frames, rows = time.perf_counter(), 0, []
    for found in follow():
        frames += 1
        rows.extend(found)
    seconds = time.perf_counter() - began
    text = "".join(f"{row[0]},{row[1]}," + ",".join(f"{value:.2f}" for value in row[2:]) + ",1,1\n" for row in rows)
    (Path(job["out"]) / f"{name}.txt").write_text(text, encoding="utf-8")
    print(json.dumps({"name": name, "frames": frames, "seconds": seconds}), flush=True)
