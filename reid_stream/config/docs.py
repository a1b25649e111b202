"""The settings -> what people and editors read: configs/default.yaml and configs/schemas/cams.schema.json.

`python -m reid_stream.config.docs` writes both below configs/; a test tells when they differ from the settings.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from reid_stream.config.cams_yaml import allowed
from reid_stream.config.settings import Camera, Settings, SettingsSection
from reid_stream.config.yaml_lines import Keys

DEFAULT = Path("configs/default.yaml")
SCHEMA = Path("configs/schemas/cams.schema.json")
_WIDTH = 120
_HEAD = """\
# yaml-language-server: $schema=schemas/cams.schema.json
# Every key of cams.yaml with its default; leave out what you do not change. Only `cameras` with `id`, `url` is needed.
# ${NAME} and ${NAME:-default} in a text are environment variables; relative paths start from this file's folder.
# Written by `python -m reid_stream.config.docs`.
"""
_EXAMPLE = {"id": "door", "url": "rtsp://10.0.0.5:554/stream1"}


def default_yaml() -> str:
    """Write every key with its default, its unit and reason, and what is allowed."""
    return _HEAD + "\n" + "\n".join(_section(Settings, (), "")) + "\n"


def schema_json() -> str:
    """Write the JSON Schema of cams.yaml for editors."""
    schema = Settings.model_json_schema()
    models = schema["properties"]["models"]
    schema["properties"]["models"] = {**models, "anyOf": [{"$ref": models.pop("$ref")}, {"const": "permissive"}]}
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_with_variables(schema)}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _section(section: type[SettingsSection], keys: Keys, indent: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        here = (*keys, name)
        inner = field.annotation
        if here == ("cameras",):
            yield from ("", "# The cameras; every key may differ per camera.", "cameras:", "  -")
            yield from _section(Camera, ("cameras", 0), "    ")
        elif isinstance(inner, type) and issubclass(inner, SettingsSection):
            yield from ("", *_comment(inner.__doc__ or "", indent), f"{name}:")
            yield from _section(inner, here, "  ")
        else:
            words = allowed(here)
            told = "" if words.startswith("text") else f" Allowed: {words}."
            yield from _comment(f"{field.description or ''}{told}", indent)
            yield f"{indent}{name}: {_default(name, field)}"


def _comment(text: str, indent: str) -> Iterator[str]:
    line = f"{indent}#"
    for word in text.split():
        if len(line) + 1 + len(word) > _WIDTH:
            yield line
            line = f"{indent}#"
        line = f"{line} {word}"
    yield line


def _default(name: str, field: FieldInfo) -> str:
    value = _EXAMPLE[name] if field.is_required() else field.default
    value = value.get_secret_value() if isinstance(value, SecretStr) else value
    return str(value) if isinstance(value, str) else json.dumps(value)


def _with_variables(node: Any) -> Any:
    """Let `${NAME}` stand where an editor would ask for a number or a boolean."""
    if isinstance(node, list):
        return [_with_variables(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _with_variables(item) for key, item in node.items()}
    if node.get("type") not in ("number", "integer", "boolean"):
        return node
    outer = {key: node.pop(key) for key in ("default", "description", "title") if key in node}
    return {"anyOf": [node, {"type": "string", "pattern": r"\$\{"}], **outer}


def main() -> None:
    """Write both files below the current folder."""
    for path, text in ((DEFAULT, default_yaml()), (SCHEMA, schema_json())):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
