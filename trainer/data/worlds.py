"""`make worlds`: simulated sites with real appearance and known truth, of people whom no training run has seen.

    python -m trainer.data.worlds [NAME ...] [--data FOLDER] [--out .footage/worlds]

A world is rendered by `worlds/make_world.py` of the data folder: each person is pasted as the crops that the data set's
own camera took, so that the change between cameras is real. Worlds to report on show the 150 test persons of
Market-1501; those called `tuning-...`, where settings may be chosen, the 60 validation persons. The same seed gives the
same files; a world that exists already with the same specification is kept.

The folder is what `reid_stream.evaluation` looks for: OUT/NAME/cam_K.mp4 and gt_K.txt (MOT text, ids shared).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av

from reid_stream.config.environment import child_environment
from trainer.data.crops import read_archive
from trainer.data.sets import split_market1501
from trainer.errors import DataError, TrainerError

SPEC_FILE = "world.json"
# As a camera would send it: no B frames, a key frame every 2 s at 10 fps; one thread, so that files repeat.
_OPTIONS = {"preset": "medium", "crf": "28", "bf": "0", "threads": "1"}
_GROUP = 20


@dataclass(frozen=True, slots=True)
class WorldSpec:
    """Settings of a rendered world."""

    name: str
    split: Literal["validation", "test"]
    """Split of Market-1501 whose people walk there."""
    cameras: tuple[int, ...]
    """Cameras of Market-1501, 1 to 6."""
    people: int
    """Number of people at most; only those whom two of the cameras took twice can walk."""
    seconds: int
    fps: int
    size: str
    """WIDTHxHEIGHT in pixels."""
    seed: int


WORLDS = (
    WorldSpec("market-6cam", "test", (1, 2, 3, 4, 5, 6), people=75, seconds=90, fps=8, size="960x540", seed=23),
    WorldSpec("rush", "test", (2, 3, 5, 6), people=80, seconds=80, fps=8, size="704x576", seed=41),
    WorldSpec(
        "tuning-square", "validation", (1, 2, 3, 4, 5, 6), people=54, seconds=120, fps=10, size="960x540", seed=5
    ),
    WorldSpec("tuning-rush", "validation", (1, 3, 4, 6), people=49, seconds=70, fps=8, size="704x576", seed=17),
)


def render(world: WorldSpec, data: Path, out: Path) -> Path:
    """Render a world into `out`/NAME, whole or not at all, and return that folder.

    Raises:
        DataError: the people or the renderer are not there.
    """
    folder = out / world.name
    if is_there(world, folder):
        return folder
    maker, archive = data / "worlds" / "make_world.py", data / "people" / "market1501_train.tar.gz"
    for needed in (maker, archive):
        if not needed.is_file():
            raise DataError(f"a world is made of {needed}, which is not there; give --data or set REID_STREAM_DATA")
    persons = set(getattr(split_market1501(data), world.split))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=f".{world.name}-") as place:
        crops, made, ids = Path(place) / "crops", Path(place) / "made", Path(place) / "ids.json"
        crops.mkdir()
        for crop in read_archive(archive, "market1501"):
            if crop.person in persons:
                (crops / crop.name).write_bytes(crop.data)
        ids.write_text(json.dumps(sorted(int(person) for person in persons)), encoding="utf-8")
        _make(world, maker, crops=crops, ids=ids, made=made)
        for raw in sorted(made.glob("cam_*_raw.avi")):
            video = raw.with_name(raw.name.replace("_raw.avi", ".mp4"))
            _encode(raw, video, world.fps)
            raw.unlink()
        (made / SPEC_FILE).write_text(_spec(world), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    return folder


def _make(world: WorldSpec, maker: Path, *, crops: Path, ids: Path, made: Path) -> None:
    backgrounds = sorted(str(path) for path in (maker.parent / "backgrounds").glob("*.jpg"))
    options = {
        "ids": ids,
        "cameras": ",".join(map(str, world.cameras)),
        "people": world.people,
        "seconds": world.seconds,
        "fps": world.fps,
        "size": world.size,
        "seed": world.seed,
    }
    named = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    _call([sys.executable, str(maker), str(crops), str(made), *named, "--backgrounds", *backgrounds])


def _encode(raw: Path, video: Path, fps: int) -> None:
    with av.open(str(raw)) as given, av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options=_OPTIONS)
        source = given.streams.video[0]
        stream.width, stream.height, stream.pix_fmt = source.width, source.height, "yuv420p"
        stream.codec_context.gop_size = _GROUP
        for n, picture in enumerate(given.decode(source)):
            frame = picture.reformat(format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, fps)
            frame.pict_type = av.video.frame.PictureType.NONE
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=child_environment(os.environ))
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise DataError(f"{' '.join(command[:2])} must end with 0, got {done.returncode}: {last}")


def _spec(world: WorldSpec) -> str:
    return json.dumps(asdict(world), indent=1) + "\n"


def is_there(world: WorldSpec, folder: Path) -> bool:
    """Whether a folder holds exactly this world."""
    spec = folder / SPEC_FILE
    return spec.is_file() and spec.read_text(encoding="utf-8") == _spec(world)


def main(arguments: Sequence[str] | None = None) -> None:
    """Render the worlds that are named, or all."""
    parser = argparse.ArgumentParser(description="Render simulated sites with known truth.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(world.name for world in WORLDS)}; all")
    parser.add_argument("--data", type=Path, default=os.environ.get("REID_STREAM_DATA"), help="folder with people/")
    parser.add_argument("--out", type=Path, default=Path(".footage") / "worlds")
    chosen = parser.parse_args(arguments)
    if chosen.data is None:
        raise DataError("worlds are made of the people below --data or $REID_STREAM_DATA, neither is given")
    if unknown := sorted(set(chosen.names) - {world.name for world in WORLDS}):
        raise DataError(f"a world is one of {', '.join(world.name for world in WORLDS)}, got {', '.join(unknown)}")
    for world in WORLDS:
        if not chosen.names or world.name in chosen.names:
            print(render(world, chosen.data, chosen.out), flush=True)


if __name__ == "__main__":
    try:
        main()
    except TrainerError as error:
        sys.exit(f"worlds: {error}")
