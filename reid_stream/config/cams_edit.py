"""Change one camera's entry in cams.yaml: comments and order are kept, the file is checked whole and replaced at once.

Values come from the network, so they are plain: no `${NAME}`, which would read the daemon's environment, and no paths,
which would read its files. What the file holds already may have both.
"""

import fcntl
import os
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

from reid_stream.config import cams_yaml
from reid_stream.config.settings import Camera
from reid_stream.errors import ConfigError

KEYS = tuple(name for name in Camera.model_fields if name not in ("password_file", "ca_file", "loop", "start_after_s"))
"""Keys that can be set; the others are paths, or for files only."""
_SCHEMES = ("rtsp://", "rtsps://", "http://", "https://")
_LONGEST_LINE = 10_000
_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
"""Unicode categories: control characters, surrogates, separators of lines and paragraphs."""


class NoSuchCameraError(ConfigError):
    """There is no camera of that ID."""


class CameraExistsError(ConfigError):
    """There is a camera of that ID already."""


def add_camera(path: Path, values: Mapping[str, Any]) -> None:
    """Append a camera.

    Raises:
        CameraExistsError: its ID is taken.
        ConfigError: the values, or the file that they would make, are wrong; or the file cannot be replaced.
    """
    check_plain(values)

    def change(cameras: Any) -> None:
        if any(entry.get("id") == values.get("id") for entry in cameras):
            raise CameraExistsError(f"cameras: every camera needs its own id, {values.get('id')!r} is taken")
        cameras.append({key: _written(value) for key, value in values.items()})

    _edit(path, change)


def change_camera(path: Path, camera: str, values: Mapping[str, Any]) -> None:
    """Set keys of a camera; a value of None removes its key.

    Raises:
        NoSuchCameraError: there is none of that ID.
        ConfigError: see `add_camera`.
    """
    check_plain(values)

    def change(cameras: Any) -> None:
        entry = cameras[_index(cameras, camera)]
        for key, value in values.items():
            if value is None:
                entry.pop(key, None)
            elif isinstance(value, Mapping) and isinstance(entry.get(key), dict):
                _set_names(entry[key], value)
            elif value != entry.get(key):
                entry[key] = _written(value)
        if "password" in values:
            entry.pop("password_file", None)

    _edit(path, change)


def _set_names(entry: Any, values: Mapping[str, Any]) -> None:
    """Set a mapping of names to these values; comments of the names that stay are kept."""
    for name in [name for name in entry if name not in values]:
        del entry[name]
    for name, value in values.items():
        if name not in entry or entry[name] != value:
            entry[name] = _written(value)


def _written(value: Any) -> Any:
    """Return a value that is written as people do: points on one line, names below each other."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if isinstance(value, Mapping):
        return CommentedMap({name: _written(one) for name, one in value.items()})
    if isinstance(value, list | tuple):
        points = CommentedSeq(_written(one) for one in value)
        points.fa.set_flow_style()
        return points
    return value


def remove_camera(path: Path, camera: str) -> None:
    """Remove a camera.

    Raises:
        NoSuchCameraError: there is none of that ID.
        ConfigError: it is the last one that is enabled, or the file cannot be replaced.
    """
    _edit(path, lambda cameras: cameras.pop(_index(cameras, camera)))


def _index(cameras: Any, camera: str) -> int:
    for index, entry in enumerate(cameras):
        if entry.get("id") == camera:
            return index
    raise NoSuchCameraError(f"there is no camera {camera!r} in cams.yaml")


def check_plain(values: Mapping[str, Any]) -> None:
    """Check what `Settings` cannot know: that values from outside are plain.

    Raises:
        ConfigError: a key may not be set, or a value names a variable, a file or another scheme.
    """
    for key, value in values.items():
        if key not in KEYS:
            raise ConfigError(f"{key}: must be one of the keys that can be set here: {', '.join(KEYS)}")
        for text in _texts(value):
            # YAML has more line breaks than "\\n", and folds them.
            if "${" in text or any(unicodedata.category(one) in _UNPRINTABLE for one in text):
                raise ConfigError(f"{key}: must be printable text of one line without ${{NAME}}")
    for key in ("url", "detect_url"):
        url = values.get(key)
        if url is not None and not str(url).lower().startswith(_SCHEMES):
            raise ConfigError(
                f"{key}: must begin with one of {', '.join(_SCHEMES)}; files and devices are set in cams.yaml"
            )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(list(value))
        yield from _texts(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def _edit(path: Path, change: Callable[[Any], object]) -> None:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _LONGEST_LINE
    yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        with _locked(path):
            try:
                tree = yaml.load(path.read_text(encoding="utf-8"))
                cameras = tree["cameras"]
            except (YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
                raise ConfigError(f"{path} must be a cams.yaml to be changed: {type(error).__name__}") from None
            change(cameras)
            out = StringIO()
            yaml.dump(tree, out)
            _replace(path, out.getvalue())
    except OSError as error:
        raise ConfigError(f"{path} must be writable to be changed, with its folder: {error.strerror}") from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one writer change the file at a time."""
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    """Put a file in the place of another once it has passed the checks of a start.

    Raises:
        ConfigError: with every fault.
        OSError: the folder cannot be written.
    """
    if path.is_symlink():
        raise ConfigError(f"{path} must be a file to be changed, found a link, as Kubernetes makes: change its source")
    mode = path.stat().st_mode & 0o777
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".yaml", dir=path.parent)
    new = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.chmod(mode)
        try:
            cams_yaml.load(new)
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(new), path.name)) from None
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
