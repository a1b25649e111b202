"""Find sets of cameras with ground truth on disk.

    ROOT/worlds/plaza/cam_1.mp4 ...  gt_1.txt ...          several cameras, ids shared
    ROOT/mot/TUD-Campus/TUD-Campus.mp4  gt.txt | gt/gt.txt      one camera, as MOTChallenge lays it out

Roots are $REID_STREAM_DATA and the folder that `make worlds` renders into.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reid_stream.config.settings import Camera, Models, Observe, Settings
from reid_stream.errors import ConfigError
from reid_stream.evaluation.align import Boxes
from reid_stream.evaluation.truth import read_truth

FOOTAGE = Path(".footage")
"""Where `make worlds` renders to, below the working folder."""
TUNING = "tuning"
"""Prefix of folders of sets for choosing settings, never for reporting."""
_GROUPS = ("worlds", "mot")
_ELSEWHERE = {"mot/PETS09-S2L1": Path("video") / "vtest.avi"}
"""Videos that are not beside their truth, below the root."""
RETURNERS: Mapping[str, Mapping[int, int]] = {
    "mot/PETS09-S2L1": {1: 19, 2: 13, 3: 11, 4: 12, 5: 9, 6: 10, 8: 15, 14: 15, 18: 15},
}
"""Returning people by set: number in the published truth -> the number before, judged by eye from the crops.

MOTChallenge gives people new numbers when they come back; the 19 of PETS09-S2L1 are ten people. Here a person must keep
one ID, so people are scored with those numbers joined.
"""


@dataclass(frozen=True, slots=True)
class FootageSet:
    """Several cameras of one place, with truth."""

    name: str
    """Group and folder, as in `worlds/plaza`."""
    videos: dict[str, Path]
    """Video by camera."""
    truths: dict[str, Path]
    """Truth by camera: MOT text, IDs shared by all."""

    @property
    def is_for_tuning(self) -> bool:
        """Settings may be chosen on it, so it is no evidence."""
        return self.name.rsplit("/", 1)[-1].startswith(TUNING)

    @property
    def has_links(self) -> bool:
        """People can go from camera to camera."""
        return len(self.videos) > 1

    def settings(self, models: Models | None = None) -> Settings:
        """Return the default configuration over these cameras, every frame used: truth has boxes in each."""
        return Settings(
            site="score",
            models=models or Models(),
            cameras=tuple(
                Camera.model_validate({"id": camera, "url": str(video), "max_fps": None})
                for camera, video in self.videos.items()
            ),
            observe=Observe(port=None),
        )

    def truth(self) -> dict[str, Boxes]:
        """Read the truth by camera, returning people under one number.

        Raises:
            ConfigError: a file cannot be the truth.
        """
        return {camera: self.joined(boxes) for camera, boxes in self.published().items()}

    def published(self) -> dict[str, Boxes]:
        """Read the truth by camera as it was published: returning people may have a new number.

        Raises:
            ConfigError: a file cannot be the truth.
        """
        return read_truth(self.truths)

    def joined(self, boxes: Boxes) -> Boxes:
        """Give returning people the number that they had."""
        known = RETURNERS.get(self.name, {})
        people = tuple(known.get(int(str(person)), person) if known else person for person in boxes.people)
        return replace(boxes, people=people)


def roots() -> list[Path]:
    """Return the folders that may hold sets: $REID_STREAM_DATA where it is set, and what `make worlds` rendered."""
    named = os.environ.get("REID_STREAM_DATA")
    return ([Path(named)] if named else []) + [FOOTAGE]


def find(folders: Iterable[Path], wanted: Sequence[str] = ()) -> list[FootageSet]:
    """Return the sets below `folders`, by name; with `wanted`, those whose names contain one of its words.

    Raises:
        ConfigError: there is none.
    """
    places = list(folders)
    found = {
        found.name: found
        for root in places
        for group in _GROUPS
        for folder in sorted((root / group).glob("*/"))
        if (found := _set(f"{group}/{folder.name}", root, folder)) is not None
    }
    chosen = [found[name] for name in sorted(found) if not wanted or any(word in name for word in wanted)]
    if not chosen:
        known = f"; known: {', '.join(sorted(found))}" if found else ""
        raise ConfigError(
            f"a set is a folder of cam_X.mp4 with gt_X.txt below {' or '.join(f'{root}/worlds' for root in places)},"
            f" none {'is called ' + ' or '.join(wanted) if wanted else 'is there'}{known}; set REID_STREAM_DATA"
        )
    return chosen


def _set(name: str, root: Path, folder: Path) -> FootageSet | None:
    cameras = [path.stem.removeprefix("gt") for path in sorted(folder.glob("gt_*.txt"))]
    videos = {f"cam{camera}": path for camera in cameras if (path := folder / f"cam{camera}.mp4").is_file()}
    if videos:
        return FootageSet(name, videos, {camera: folder / f"gt{camera.removeprefix('cam')}.txt" for camera in videos})
    video = root / _ELSEWHERE[name] if name in _ELSEWHERE else folder / f"{folder.name}.mp4"
    truths = [path for path in (folder / "gt.txt", folder / "gt" / "gt.txt") if path.is_file()]
    return FootageSet(name, {"cam": video}, {"cam": truths[0]}) if truths and video.is_file() else None
