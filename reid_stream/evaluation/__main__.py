"""`make score`: every set with truth below $REID_STREAM_DATA through the whole daemon, one table, kept per commit."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from reid_stream.config import Camera, Observe, Settings
from reid_stream.errors import ReidStreamError
from reid_stream.evaluation.run import Figures, run

SETS = {
    "worlds/plaza": {f"cam_{number}": (f"cam_{number}.mp4", f"gt_{number}.txt") for number in (1, 2, 3, 5)},
    "mot/ADL-Rundle-6-2cam-overlap": {f"cam_{name}": (f"cam_{name}.mp4", f"gt_{name}.txt") for name in "ab"},
}
KEPT = Path("scores")


def main() -> None:
    """Score the sets that are there; with arguments, only those whose names contain one of them."""
    root = os.environ.get("REID_STREAM_DATA")
    if root is None:
        sys.exit("make score needs footage with truth: set REID_STREAM_DATA to the folder that holds worlds/ and mot/")
    wanted = {
        name: files
        for name, files in SETS.items()
        if (Path(root) / name).is_dir() and (len(sys.argv) == 1 or any(part in name for part in sys.argv[1:]))
    }
    if not wanted:
        sys.exit(f"{root} must hold at least one of {', '.join(SETS)}")
    scored: dict[str, Figures] = {}
    for name, files in wanted.items():
        settings = Settings(
            site="score",
            cameras=tuple(
                Camera.model_validate({"id": camera, "url": str(Path(root) / name / video), "max_fps": None})
                for camera, (video, _) in files.items()
            ),
            observe=Observe(port=None),
        )
        scored[name] = run(settings, {camera: Path(root) / name / truth for camera, (_, truth) in files.items()})
    _show(scored)
    KEPT.mkdir(exist_ok=True)
    kept = KEPT / f"{_commit()}.json"
    kept.write_bytes(msgspec.json.format(msgspec.json.encode(scored), indent=2) + b"\n")
    Console().print(f"kept in {kept}", style="dim")


def _show(scored: dict[str, Figures]) -> None:
    table = Table("set", "HOTA", "AssPr", "AssRe", "IDF1", "IDF1 at once", "IDs", "frames/s", box=None)
    for name, figures in scored.items():
        end = figures.in_the_end
        values = (end.hota, end.ass_pr, end.ass_re, end.idf1, figures.at_once.idf1)
        table.add_row(
            name,
            *(f"{value:.3f}" for value in values),
            f"{figures.people_in_the_end} of {figures.people}",
            f"{figures.frames / figures.seconds:.1f}",
        )
    Console().print(table)


def _commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unversioned"


if __name__ == "__main__":
    try:
        main()
    except ReidStreamError as error:
        sys.exit(f"make score: {error}")
