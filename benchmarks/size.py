"""Measure how much a newcomer has to read: modules, layers, lines and names defined twice of a checkout."""

import ast
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reid_stream.errors import ConfigError


@dataclass(frozen=True)
class Size:
    """Sizes of one checkout; the wheel holds `reid_stream/` and `trainer/`."""

    top_modules: int
    """Python files directly in `reid_stream/`."""
    layers: int
    """Layers of the import contract of `reid_stream`."""
    modules: int
    """Python files of the wheel."""
    lines: int
    """Lines of Python in the wheel."""
    longest: int
    """Lines of its longest module."""
    classes: int
    """Names of public classes outside tests."""
    defined_twice: tuple[str, ...]
    """Names that more than one file defines."""
    readme_lines: int
    readme_bytes: int
    tracked_bytes: int
    """All tracked files together."""


def measure(checkout: Path) -> Size:
    """Measure the tracked files of a checkout.

    Raises:
        ConfigError: the folder is no checkout of this project.
    """
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=checkout, capture_output=True, text=True, check=False)
    files = [Path(name) for name in listed.stdout.split("\0") if name and (checkout / name).is_file()]
    wheel = [file for file in files if file.suffix == ".py" and file.parts[0] in ("reid_stream", "trainer")]
    if listed.returncode or not wheel or not (checkout / "pyproject.toml").is_file():
        raise ConfigError(f"size needs a git checkout of reid-stream, {checkout} is not one")
    places: dict[str, set[Path]] = defaultdict(set)
    for file in files:
        if file.suffix == ".py" and file.parts[0] in ("reid_stream", "trainer", "benchmarks"):
            for name in _public_classes(checkout / file):
                places[name].add(file)
    lengths = [len((checkout / file).read_text(encoding="utf-8").splitlines()) for file in wheel]
    readme = (checkout / "README.md").read_text(encoding="utf-8")
    return Size(
        top_modules=sum(len(file.parts) == 2 and file.parts[0] == "reid_stream" for file in wheel),
        layers=_layers(checkout / "pyproject.toml"),
        modules=len(wheel),
        lines=sum(lengths),
        longest=max(lengths),
        classes=len(places),
        defined_twice=tuple(sorted(name for name, found in places.items() if len(found) > 1)),
        readme_lines=len(readme.splitlines()),
        readme_bytes=len(readme.encode()),
        tracked_bytes=sum((checkout / file).stat().st_size for file in files),
    )


def _public_classes(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


def _layers(project: Path) -> int:
    contracts = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    return max(len(contract.get("layers", ())) for contract in contracts)
