"""Read YAML into plain values with their line numbers; expand `${ENV}` and collect every fault.

Only the safe part of YAML 1.2 is read: mappings with text keys, lists, and scalars. Faults never quote values, which
may be passwords.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from reid_stream.errors import ConfigError

Keys = tuple[str | int, ...]
"""Path of a value from the top: `("cameras", 1, "max_fps")`."""
Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]

_MAX_BYTES = 1 << 20
# Aliases can make a few lines stand for billions of values ("billion laughs").
_MAX_VALUES = 50_000
_MAX_DEPTH = 30
_VARIABLE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|(\$\{)")
_SCALARS = ("null", "bool", "int", "float", "str", "timestamp")


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One fault in a file."""

    line: int
    """Line number from 1; 0 for values that come from no file."""
    keys: Keys = field(compare=False)
    text: str
    """Message: the rule, the value found, and the allowed values."""

    def __str__(self) -> str:
        line = f"line {self.line}" if self.line else ""
        return ": ".join(part for part in (line, dotted(self.keys), self.text) if part)


@dataclass(slots=True)
class YamlTree:
    """The values of a file with their lines."""

    value: Value = None
    lines: dict[Keys, int] = field(default_factory=dict)
    """Line of each key or list item, from 1."""
    written: dict[Keys, str] = field(default_factory=dict)
    """Text before expansion of the values that held a `${ENV}`."""
    faults: list[Fault] = field(default_factory=list)
    is_file: bool = True
    """False for values that come from no file and have no lines."""

    def line(self, keys: Keys) -> int:
        """Return the line of a value, or of the nearest enclosing one in the file."""
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return self.lines.get(keys, 1 if self.is_file else 0)

    def add(self, keys: Keys, text: str) -> None:
        """Add a fault."""
        self.faults.append(Fault(self.line(keys), keys, text))


def dotted(keys: Keys) -> str:
    """Return keys in the usual notation: `cameras[1].max_fps`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{redacted(key)}" for key in keys)
    return text.removeprefix(".")


_ANNOUNCED = re.compile(r"(pass\w*|pwd|secret|token)([\s:=]).*", re.IGNORECASE | re.DOTALL)


def redacted(text: str) -> str:
    """Mask what may be a secret: in a URL all before the last `@` and the query; what follows `password:`."""
    text = _ANNOUNCED.sub(r"\1\2***", text)
    text = re.sub(r"//.*@", "//***@", text, flags=re.DOTALL)
    return re.sub(r"(://[^?]*)\?.*", r"\1?***", text, flags=re.DOTALL)


def read(path: Path, environ: Mapping[str, str]) -> YamlTree:
    """Read a file into a tree.

    Raises:
        ConfigError: it cannot be read, or is no YAML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ConfigError(f"{path}: must be at most {_MAX_BYTES} bytes, found more")
        return parse(data.decode("utf-8-sig"), environ)
    except OSError as error:
        raise ConfigError(f"{path}: must be a readable file, found: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: must be UTF-8 text, found byte 0x{data[error.start]:02x}") from error
    except _NoYamlError as error:
        raise ConfigError(f"{path}, line {error.line}: must be YAML: {error.problem}") from error


class _NoYamlError(Exception):
    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem


def parse(text: str, environ: Mapping[str, str]) -> YamlTree:
    """Parse text into a tree; `${NAME}` is looked up in `environ`."""
    # Errors are not chained: those of ruamel quote the file, perhaps a password.
    yaml = YAML(typ="safe", pure=True)
    tree = YamlTree()
    try:
        node = yaml.compose(text)
        if node is not None:
            tree.value = _Reader(tree, yaml, environ).value(node, (), ())
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = str(error.problem or error.context or "unreadable")
        # The name of an alias may be a password that begins with `*`.
        problem = re.sub(r"(alias) '.*", r"\1; put text that begins with * in quotes", problem, flags=re.DOTALL)
        raise _NoYamlError(mark.line + 1 if mark else 1, " ".join(problem.split())) from None
    except YAMLError as error:
        position = getattr(error, "position", 0)
        raise _NoYamlError(text.count("\n", 0, position) + 1, "a character that text must not hold") from None
    except RecursionError:
        raise _NoYamlError(1, "nested too deeply") from None
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        # ruamel lets some of these through for odd directives and tags.
        raise _NoYamlError(1, f"not understood ({type(error).__name__})") from None
    return tree


@dataclass(slots=True)
class _Reader:
    tree: YamlTree
    yaml: YAML
    environ: Mapping[str, str]
    count: int = 0

    def value(self, node: Node, keys: Keys, around: tuple[int, ...]) -> Value:
        self.count += 1
        line = node.start_mark.line + 1
        self.tree.lines.setdefault(keys, line)
        if self.count > _MAX_VALUES:
            raise _NoYamlError(line, f"at most {_MAX_VALUES} values, found more (an alias repeated?)")
        if id(node) in around or len(around) > _MAX_DEPTH:
            raise _NoYamlError(line, "nested too deeply (an alias within itself?)")
        around = (*around, id(node))
        if isinstance(node, MappingNode):
            return self._mapping(node, keys, around)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*keys, index), around) for index, item in enumerate(node.value)]
        return self._scalar(node, keys)

    def _mapping(self, node: MappingNode, keys: Keys, around: tuple[int, ...]) -> Value:
        found: dict[str, Value] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode) or _kind(key_node) not in ("str", "bool", "null"):
                self.tree.faults.append(Fault(line, keys, "a key must be text, found another kind of value"))
                continue
            key = str(key_node.value)
            if key in first:
                text = f"a key must appear once, found it on line {first[key]} already"
                self.tree.faults.append(Fault(line, (*keys, key), text))
                continue
            first[key] = line
            self.tree.lines[*keys, key] = line
            found[key] = self.value(value_node, (*keys, key), around)
        return found

    def _scalar(self, node: Node, keys: Keys) -> Value:
        kind = _kind(node)
        if kind not in _SCALARS:
            self.tree.add(keys, "must be a plain value, found a YAML tag (!...); put text that begins with ! in quotes")
            return None
        text = str(node.value)
        if kind in ("str", "timestamp"):
            return self._expanded(text, keys)
        try:
            value = self.yaml.constructor.construct_object(node)
        except (ValueError, YAMLError):
            self.tree.add(keys, f"must be a value of its kind, found no {kind}")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self.tree.add(keys, f"must be a finite number, found {value}")
            return None
        return value if value is None or isinstance(value, bool | int | float) else str(value)

    def _expanded(self, text: str, keys: Keys) -> str:
        if "${" not in text:
            return text

        def replace(match: re.Match[str]) -> str:
            escaped, name, default, broken = match.groups()
            if escaped:
                return "${"
            if broken:
                self.tree.add(
                    keys, "an environment variable must be ${NAME} or ${NAME:-default}, found ${ without them"
                )
                return ""
            given = self.environ.get(name)
            if given or (given is not None and default is None):
                return given
            if default is None:
                self.tree.add(keys, f"environment variable {name} must be set, found nothing; or ${{{name}:-default}}")
                return ""
            return str(default)

        self.tree.written[keys] = text
        return _VARIABLE.sub(replace, text)


def _kind(node: Node) -> str:
    return str(node.tag).rpartition(":")[2]
