"""Class names in a detector's metadata, in the notations of the tools that export detectors.

    {0: 'car', 1: 'person'}        ultralytics, YOLOv5 (key `names`)
    ["car", "person"]              JSON; also {"0": "car"}, {"car": 0}, [{"id": 0, "name": "car"}]
    names: {0: car, 1: person}     YAML, one line or several, with or without `names`
    car,person                     words by comma, semicolon or line; also numbered lines `0: car`, `0 car`

Names that are there but cannot be read are an error, not a detector of people.
"""

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reid_stream.bundles.network_file import read_file
from reid_stream.errors import ModelError

_KEYS = ("names", "class_names", "classnames", "classes", "class_labels", "labels", "id2label")
"""Keys of ONNX metadata that hold class names, in lower case, the usual one first."""
_MOST_TEXT = 100_000
_NUMBERED = re.compile(r"\s*\d+\s*[:=]\s*")
_COUNTED = re.compile(r"\s*(\d+)\s+([^\s:=].*)")


def class_names(network: Any, model: Path) -> list[str]:
    """Return the class names that a network's metadata states, or the file beside an IR; empty where neither does.

    Args:
        network: OpenVINO's model.
        model: its file; `metadata.yaml` of ultralytics is read beside an .xml.

    Raises:
        ModelError: there are names, and they cannot be read.
    """
    found = {str(key).lower(): str(value) for key, value in _section(network, "framework").items()}
    texts = [(key, found[key]) for key in _KEYS if key in found]
    if "labels" in (geti := _section(network, "model_info")):  # OpenVINO's Model API: words by space
        texts.append(("labels", ",".join(str(geti["labels"]).split())))
    if model.suffix.lower() == ".xml" and (beside := _beside(model)):
        texts.append(("names", beside))
    for key, text in texts:
        names = listed(text)
        if names is None:
            raise ModelError(
                f"the class names in the metadata of {model} must be readable, found {key} = {text[:60]!r}; give them "
                "in the network's order, as --classes person,car,..."
            )
        if names:
            return names
    return []


def listed(text: str) -> list[str] | None:
    """Return the names in a text, in the network's order; empty where it holds none, None if it cannot be read (pure).

    >>> listed('{"0": "car", "1": "person"}')
    ['car', 'person']
    >>> listed("car, person")
    ['car', 'person']
    """
    text = text[:_MOST_TEXT].strip()
    if text.isdecimal() or text in ("", "None", "null"):  # a number of classes, or nothing
        return []
    value = _literal(text)
    if value is None:
        value = _yaml(text) if re.search(r"[][{}]|^\s*-|^\s*\w+\s*:\s*$", text, re.MULTILINE) else None
    if value is None:
        return None if re.search(r"[][{}]", text) else _words(text)
    if isinstance(value, Mapping):
        keys = {str(key).lower(): each for key, each in value.items()}
        inner = next((keys[key] for key in _KEYS if isinstance(keys.get(key), Mapping | list)), None)
        value = inner if inner is not None else value
    if isinstance(value, Mapping):
        return _of_mapping(value)
    if not isinstance(value, list | tuple):
        return _words(text)
    if value and all(isinstance(each, Mapping) for each in value):
        return _of_mapping({each.get("id", place): each.get("name") for place, each in enumerate(value)})
    if value and all(isinstance(each, list | tuple) and len(each) == 2 for each in value):
        return _of_mapping(dict(value)) if all(isinstance(each[0], int | str) for each in value) else None
    return list(value) if all(isinstance(each, str) for each in value) else None


def _literal(text: str) -> Any:
    for read in (ast.literal_eval, json.loads):
        try:
            return read(text)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, RuntimeError):
            continue
    return None


def _yaml(text: str) -> Any:
    """Return the mapping or list that YAML reads, else None; aliases stay references, which no caller follows."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        value = YAML(typ="safe").load(text)
    except (YAMLError, ValueError, TypeError, RecursionError):
        return None
    return value if isinstance(value, Mapping | list) else None


def _of_mapping(value: Mapping[Any, Any]) -> list[str] | None:
    """Return the names of {index: name} or {name: index}; None where the indices are not 0, 1, 2, ..."""
    pairs = [(key, name.get("name") if isinstance(name, Mapping) else name) for key, name in value.items()]
    if pairs and all(isinstance(name, int) for _, name in pairs):
        pairs = [(index, name) for name, index in pairs]
    ordered = sorted((int(str(index)), name) for index, name in pairs if isinstance(name, str) and _is_number(index))
    if [index for index, _ in ordered] != list(range(len(pairs))):
        return None
    return [name for _, name in ordered]


def _is_number(index: object) -> bool:
    return str(index).isascii() and str(index).isdecimal()


def _words(text: str) -> list[str]:
    parts = text.splitlines() if "\n" in text else re.split(r"[,;]", text)
    counted = [_COUNTED.fullmatch(part) for part in parts if part.strip()]
    found = [(int(each[1]), each[2].strip()) for each in counted if each is not None]
    if len(found) == len(counted) and [number for number, _ in found] == list(range(len(found))):
        return [name for _, name in found]
    return [name for part in parts if (name := _NUMBERED.sub("", part, count=1).strip().strip("'\""))]


def _section(network: Any, name: str) -> dict[str, Any]:
    if not network.has_rt_info([name]):
        return {}
    value = network.get_rt_info([name]).value
    return value if isinstance(value, dict) else {}


def _beside(model: Path) -> str:
    """Return the names in ultralytics' `metadata.yaml` beside an IR; empty without."""
    file = model.parent / "metadata.yaml"
    if not file.is_file():
        return ""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        read = YAML(typ="safe").load(read_file(file, "class names", _MOST_TEXT).decode())
    except (YAMLError, ModelError, UnicodeDecodeError, RecursionError):
        return ""
    names = read.get("names", "") if isinstance(read, dict) else ""
    # Aliases can make a few lines stand for billions of values: only flat ones are written out.
    values = list(names.values()) if isinstance(names, dict) else names if isinstance(names, list) else [names]
    return str(names) if all(isinstance(value, str | int | float) for value in values) else ""
