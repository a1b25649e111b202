"""Read cams.yaml into `Settings`: fill in variables and secret files, make paths absolute, report all faults at once.

    cams.yaml, line 12: cameras[1].max_fps: must be greater than 0, found -1; allowed: a number above 0, at most 120

A password is never part of a message. Causes of errors are not chained (`raise ... from None`), since pydantic's and
ruamel's own errors quote what they were given.
"""

import difflib
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from reid_stream.config.camera_url import may_be_host
from reid_stream.config.perceive_settings import SHARED, PerceiveSettings
from reid_stream.config.rules import check, scheme_of
from reid_stream.config.settings import Settings
from reid_stream.config.yaml_lines import Fault, Keys, Value, YamlTree, read, redacted
from reid_stream.errors import ConfigError

_MOST_FAULTS = 50
_LONGEST_FOUND = 60
_MUST = {
    "missing": "must be given",
    "extra_forbidden": "must be a known key",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be one of the allowed values",
    "string_pattern_mismatch": "must be text of the allowed form",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "finite_number": "must be a finite number",
}
_KINDS = {
    "float": "must be a number",
    "int": "must be a whole number",
    "bool": "must be true or false",
    "string": "must be text",
    "model": "must be a mapping of keys",
    "dict": "must be a mapping of keys",
    "tuple": "must be a list",
    "list": "must be a list",
    "path": "must be a path",
}


def load(path: Path, environ: Mapping[str, str] | None = None, kind: type[Settings] = Settings) -> Settings:
    """Read cams.yaml.

    Args:
        path: of the file.
        environ: where `${NAME}` is looked up; None for the process's own.
        kind: what it must hold.

    Raises:
        ConfigError: with every fault of the file, one a line.
    """
    tree = read(path, os.environ if environ is None else environ)
    if not isinstance(tree.value, dict):
        found = "an empty file" if tree.value is None else _kind(tree.value)
        raise ConfigError(f"{path}, line 1: must be a mapping of keys, found {found}; needed: cameras with id and url")
    return _settings(tree, path.parent, str(path), kind)


def from_values(values: dict[str, Value], folder: Path, source: str, kind: type[Settings] = Settings) -> Settings:
    """Make settings of plain values, checked like those of a file.

    Args:
        values: as cams.yaml would hold them; paths are relative to `folder`.
        folder: for relative paths.
        source: what the values come from, for messages.
        kind: what they must hold.

    Raises:
        ConfigError: with every fault, one a line.
    """
    return _settings(YamlTree(value=values, is_file=False), folder, source, kind)


def _settings(tree: YamlTree, folder: Path, source: str, kind: type[Settings]) -> Settings:
    assert isinstance(tree.value, dict)  # checked by the callers
    check(tree)
    if tree.value.get("cameras") == SHARED and not issubclass(kind, PerceiveSettings):
        tree.add(("cameras",), f"must be a list here, found {SHARED}, which is for `reid-stream perceive`")
    _bool_is_no_number(tree)
    _fill_in_secrets(tree, folder)
    _check_hosts(tree, folder)
    _make_absolute(tree.value, folder)
    try:
        settings = kind.model_validate(tree.value)
    except ValidationError as error:
        tree.faults.extend(_fault(tree, details) for details in error.errors() if not _is_reported(tree, details))
    if tree.faults:
        raise ConfigError(_message(source, tree.faults)) from None
    return settings


def allowed(keys: Keys) -> str:
    """Describe the values that a key allows, from the JSON Schema of the settings; empty for an unknown key."""
    node = schema_at(keys)
    return _describe(node) if node else ""


def schema_at(keys: Keys) -> dict[str, Any]:
    """Return the JSON Schema of the value at a key, references resolved; empty for an unknown key."""
    schema = _schema()
    node = schema
    for key in keys:
        node = _bare(node, schema)
        if isinstance(key, str):
            node = node.get("properties", {}).get(key, {})
        else:
            prefix = node.get("prefixItems", [])
            node = prefix[key] if key < len(prefix) else node.get("items", {})
    resolved = dict(_bare(node, schema))
    if resolved and any(option.get("type") == "null" for option in node.get("anyOf", ())):
        resolved["nullable"] = True
    return resolved


@cache
def _schema() -> dict[str, Any]:
    return Settings.model_json_schema()


def _bare(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    for option in node.get("anyOf", ()):
        if option.get("type") != "null":
            return _bare(option, schema)
    reference = node.get("$ref")
    return schema["$defs"][reference.rpartition("/")[2]] if reference else node


def _describe(node: dict[str, Any]) -> str:
    kind = node.get("type")
    if "enum" in node or "const" in node:
        text = ", ".join(map(str, node.get("enum", [node.get("const")])))
    elif kind == "object":
        text = f"keys {', '.join(node.get('properties', {}))}"
    elif kind == "array":
        count = node.get("minItems")
        text = f"a list of {count}" if count and count == node.get("maxItems") else "a list"
    elif kind == "boolean":
        text = "true, false"
    elif kind in ("number", "integer"):
        bounds = [
            f"{word} {node[key]:g}"
            for key, word in (
                ("exclusiveMinimum", "above"),
                ("minimum", "at least"),
                ("exclusiveMaximum", "below"),
                ("maximum", "at most"),
            )
            if key in node
        ]
        text = " ".join(["a number" if kind == "number" else "a whole number", ", ".join(bounds)]).strip()
    elif "pattern" in node:
        text = f"text matching {node['pattern']}"
    else:
        text = "text"
    return f"{text}, or null" if node.get("nullable") else text


def _fault(tree: YamlTree, details: ErrorDetails) -> Fault:
    keys: Keys = tuple(details["loc"])
    kind = details["type"]
    if kind == "missing":
        text = "must be given, found nothing"
    elif kind == "extra_forbidden":
        return _unknown_key(tree, keys)
    elif kind == "value_error":
        text = str(details.get("ctx", {}).get("error", "must be another value"))
    else:
        must = _MUST.get(kind) or _KINDS.get(kind.partition("_")[0]) or "must be another value"
        text = f"{must.format_map(details.get('ctx', {}))}, found {_found(tree, keys)}"
    words = allowed(keys)
    return Fault(tree.line(keys), keys, f"{text}; allowed: {words}" if words else text)


def _unknown_key(tree: YamlTree, keys: Keys) -> Fault:
    name = str(keys[-1])
    known = list(schema_at(keys[:-1]).get("properties", {}))
    close = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    text = f"must be a known key, found {redacted(name)!r}{hint}; allowed: {', '.join(known)}"
    return Fault(tree.line(keys), keys, text)


def _is_reported(tree: YamlTree, details: ErrorDetails) -> bool:
    """Whether `rules.check` or the reader of the tree has reported this already."""
    keys: Keys = tuple(details["loc"])
    # `rules.check` knows most of what our own validators refuse, sometimes as the fault of a key inside.
    if details["type"] == "value_error":
        return any(fault.keys[: len(keys)] == keys[: len(fault.keys)] for fault in tree.faults)
    value = _at(tree.value, keys)
    # pydantic calls a list too short once its faulty entries are left out.
    if details["type"] == "too_short" and isinstance(value, list) and len(value) >= details["ctx"]["min_length"]:
        return True
    # Within one key of a camera the outer fault explains the inner ones.
    return any(fault.keys == (keys[: len(fault.keys)] if len(fault.keys) > 2 else keys) for fault in tree.faults)


def _found(tree: YamlTree, keys: Keys) -> str:
    value = _at(tree.value, keys)
    if any(isinstance(key, str) and ("password" in key or key == "token") for key in keys):
        return "(hidden)"
    if keys in tree.written:
        return f"{_short(tree.written[keys])} with its variables filled in"
    if isinstance(value, dict | list) or value is None:
        return _kind(value)
    return _short(value) if isinstance(value, str) else str(value).lower()


def _short(text: str) -> str:
    shown = repr(redacted(text))
    return shown if len(shown) <= _LONGEST_FOUND else f"{shown[:_LONGEST_FOUND]}..."


def _kind(value: Value) -> str:
    if value is None:
        return "nothing (leave the key out for its default)"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return "text" if isinstance(value, str) else "a single value"


def _at(value: Value, keys: Keys) -> Value:
    for key in keys:
        if isinstance(value, dict) and isinstance(key, str):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return None
    return value


def _bool_is_no_number(tree: YamlTree) -> None:
    # pydantic accepts `true` as the number 1.
    for keys in list(tree.lines):
        if isinstance(_at(tree.value, keys), bool) and schema_at(keys).get("type") in ("number", "integer"):
            tree.add(keys, f"must be a number, found {_found(tree, keys)}; allowed: {allowed(keys)}")


def _sections_with_secrets(top: dict[str, Value]) -> Iterable[tuple[Keys, dict[str, Value]]]:
    redis, cameras = top.get("redis"), top.get("cameras")
    if isinstance(redis, dict):
        yield ("redis",), redis
    for index, camera in enumerate(cameras if isinstance(cameras, list) else ()):
        if isinstance(camera, dict):
            yield ("cameras", index), camera


def _fill_in_secrets(tree: YamlTree, folder: Path) -> None:
    assert isinstance(tree.value, dict)  # checked by the callers
    for keys, section in _sections_with_secrets(tree.value):
        name = section.get("password_file")
        if not isinstance(name, str) or section.get("password") is not None:
            continue
        file = _absolute(name, folder)
        del section["password_file"]
        try:
            lines = Path(file).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
            tree.add((*keys, "password_file"), f"must be a readable file, found: {reason} ({file})")
            continue
        password = lines[0].strip() if lines else ""
        if not password:
            tree.add((*keys, "password_file"), f"must hold a password in its first line, found none ({file})")
        elif keys == ("redis",):
            section["password_file"] = file  # read again at each connection
        else:
            section["password"] = password


def _check_hosts(tree: YamlTree, folder: Path) -> None:
    """Note urls that are a host without a scheme: they would be missing files."""
    top = tree.value
    cameras = top.get("cameras") if isinstance(top, dict) else None
    for index, camera in enumerate(cameras if isinstance(cameras, list) else ()):
        url = camera.get("url") if isinstance(camera, dict) else None
        if isinstance(url, str) and scheme_of(url) is None and may_be_host(url) and not _exists(folder / url):
            tree.add(
                ("cameras", index, "url"),
                "must begin with a scheme to be a camera on the network, or name a file that is there, found neither; "
                "write rtsp://HOST/PATH or http://HOST/PATH, or ./PATH for a file that is yet to come",
            )


def _exists(path: Path) -> bool:
    with suppress(OSError, ValueError):  # a name that is too long, a null byte
        return path.exists()
    return False


def _make_absolute(top: dict[str, Value], folder: Path) -> None:
    cameras, models, redis = top.get("cameras"), top.get("models"), top.get("redis")
    for camera in cameras if isinstance(cameras, list) else ():
        url = camera.get("url") if isinstance(camera, dict) else None
        if isinstance(camera, dict) and isinstance(url, str) and scheme_of(url) in (None, "file") and url.strip():
            path = url[len("file:") :] if scheme_of(url) == "file" else url
            camera["url"] = _absolute(f"/{path.lstrip('/')}" if path.startswith("//") else path, folder)
    if isinstance(models, dict):
        for key in ("detector", "embedder"):
            name = models.get(key)
            # A name without a slash is looked up in $REID_STREAM_MODELS, see bundles.catalog.
            if isinstance(name, str) and "/" in name:
                models[key] = _absolute(name, folder)
    sections = [redis, *(top.get(name) for name in ("spool", "store", "web"))]
    for section in [*sections, *(cameras if isinstance(cameras, list) else ())]:
        for key in ("directory", "folder", "ca_file", "cert_file", "key_file", "users_file"):
            if isinstance(section, dict) and isinstance(section.get(key), str):
                section[key] = _absolute(str(section[key]), folder)


def _absolute(name: str, folder: Path) -> str:
    # Only `~/` is expanded: `expanduser` raises for an unknown user.
    path = Path.home() / name[2:] if name.startswith("~/") else folder / name
    return os.path.abspath(path)  # noqa: PTH100 (`resolve` follows links; a null byte is an error to it)


def _message(source: str, faults: list[Fault]) -> str:
    lines = list(dict.fromkeys(f"{source}, {fault}" for fault in sorted(faults)))
    if len(lines) > _MOST_FAULTS:
        lines[_MOST_FAULTS:] = [f"... and {len(lines) - _MOST_FAULTS} more"]
    return lines[0] if len(lines) == 1 else f"{source} has {len(lines)} faults:\n" + "\n".join(lines)
