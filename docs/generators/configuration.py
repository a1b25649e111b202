"""docs/reference/configuration.md: every key of cams.yaml with default, allowed values and description."""

import json
from collections.abc import Iterable

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from docs.generators.markdown import head, sentence, table
from reid_stream.config.cams_yaml import allowed
from reid_stream.config.settings import Camera, Settings, SettingsSection
from reid_stream.config.yaml_lines import Keys

_TEXT = """\
Every key of `cams.yaml`. Only `cameras`, each with `id` and `url`, is required; leave out what you do not change.
`${NAME}` and `${NAME:-default}` inside a value are environment variables. Relative paths start from the file's folder.

`configs/default.yaml` holds the same keys as one commented file, and `configs/schemas/cams.schema.json` is a JSON
Schema with which an editor completes and checks the file. `reid-stream check --cameras cams.yaml` reports every fault
at once, with file, line, key, the value found and the values allowed."""


def page() -> str:
    """Generate the page."""
    scalars = [(name, field) for name, field in Settings.model_fields.items() if not _is_section((name,), field)]
    parts = [head("Configuration", _TEXT), "## Top level\n\n" + _rows(scalars, ())]
    for name, field in Settings.model_fields.items():
        if not _is_section((name,), field):
            continue
        inner = Camera if name == "cameras" else field.annotation
        assert isinstance(inner, type)
        assert issubclass(inner, SettingsSection)
        keys: Keys = ("cameras", 0) if name == "cameras" else (name,)
        text = "A list; every key may differ per camera." if name == "cameras" else sentence(inner.__doc__)
        parts.append(f"## {name}\n\n{text}\n\n" + _rows(inner.model_fields.items(), keys))
    return "\n".join(parts)


def _is_section(keys: Keys, field: FieldInfo) -> bool:
    inner = field.annotation
    return keys == ("cameras",) or (isinstance(inner, type) and issubclass(inner, SettingsSection))


def _rows(fields: Iterable[tuple[str, FieldInfo]], keys: Keys) -> str:
    rows = []
    for name, field in fields:
        words = allowed((*keys, name))
        limit = "text" if words.startswith("text") else words.strip()
        rows.append((f"`{name}`", _default(field), limit, field.description or ""))
    return table(("key", "default", "allowed", "meaning"), rows)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"
