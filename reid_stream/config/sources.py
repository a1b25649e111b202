"""Load settings from the arguments of `--cameras`: a cams.yaml, or video files and URLs of cameras, which need none."""

import re
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from reid_stream.config.camera_url import may_be_host, split_login

if TYPE_CHECKING:
    from reid_stream.config.settings import Settings

_YAML = (".yaml", ".yml")
_VIDEO = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".flv", ".ts", ".mts", ".mpg", ".mpeg", ".wmv", ".mjpeg")
_RAW_VIDEO = (".h264", ".h265", ".264", ".265", ".mjpg")
_MOST_HEAD = 4096
_NO_ID = re.compile(r"[^A-Za-z0-9_.-]+")
_MOST_ID = 48


def load_settings(
    sources: Sequence[str], option: str = "--cameras", kind: "type[Settings] | None" = None
) -> "Settings":
    """Read cams.yaml, or make the settings of the default site from files and URLs.

    Args:
        sources: one cams.yaml, or files and URLs.
        option: name of the argument in errors.
        kind: what a cams.yaml must hold; None for `Settings`.

    Raises:
        ConfigError: the file is wrong, a file is missing, a URL is malformed, or both kinds are mixed.
    """
    from reid_stream.config import cams_yaml
    from reid_stream.config.settings import Settings
    from reid_stream.errors import ConfigError

    files = [source for source in sources if is_config(source)]
    if len(sources) == 1 and files:
        return cams_yaml.load(Path(sources[0]), kind=kind or Settings)
    if files:
        raise ConfigError(
            f"{option} must be one cams.yaml, or files and URLs of cameras, found both: {files[0]} among "
            f"{len(sources)}; name the cameras in {files[0]}"
        )
    missing = [
        source
        for source in sources
        if _is_path(source) and "%" not in source and not Path(source).is_file() and not may_be_host(source)
    ]
    if missing:
        kinds = {each: "a folder" if Path(each).is_dir() else "nothing" for each in missing}
        raise ConfigError(
            "\n".join(
                f"{option} must name files that are there, found {kind} at {each}; a camera on the network needs its "
                "scheme, such as rtsp://"
                for each, kind in kinds.items()
            )
        )
    return cams_yaml.from_values(
        {"cameras": [{"id": name, "url": source} for name, source in named(sources)]}, Path.cwd(), option
    )


def _is_path(source: str) -> bool:
    return "://" not in source and not source.startswith(("/dev/video", "file:"))


def is_config(source: str) -> bool:
    """Whether a source is a cams.yaml: by its suffix, else by holding text."""
    path = Path(source)
    if not _is_path(source) or path.suffix.lower() in (*_VIDEO, *_RAW_VIDEO):
        return False
    if path.suffix.lower() in _YAML:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(_MOST_HEAD)
    except OSError:
        return False
    return bool(head) and not any(byte < 9 for byte in head)


def named(sources: Sequence[str]) -> list[tuple[str, str]]:
    """Return each source with an ID: the name of its file without suffix, or its host; numbered where that is taken."""
    named: dict[str, str] = {}
    for source in sources:
        wanted = _id(source)
        free = (
            wanted
            if wanted not in named
            else next(name for number in count(2) if (name := f"{wanted}-{number}") not in named)
        )
        named[free] = source
    return list(named.items())


def _id(source: str) -> str:
    if _is_path(source) or source.startswith(("/dev/", "file:")):
        text = Path(source.removeprefix("file:")).stem
    else:
        try:
            text = urlsplit(f"//{split_login(source.partition('://')[2])[1]}").hostname or ""
        except ValueError:  # reported by the checks of the settings
            text = ""
    return _NO_ID.sub("-", text).strip("-_.")[:_MOST_ID] or "camera"
