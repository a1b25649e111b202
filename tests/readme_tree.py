"""The tree for README, with each file's first docstring line: `python tests/readme_tree.py`.

`test_architecture` compares its names with those in README; the words beside them are README's own.
"""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("reid_stream", "trainer")
_QUIET = {"__init__.py", "__main__.py"}


def tracked() -> list[Path]:
    """List the files that git tracks or would add, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [Path(name) for name in names if name and (ROOT / name).is_file()]


def entries() -> list[str]:
    """List what README's tree must show: the top, and every folder and module of both packages."""
    shown: set[str] = set()
    for path in tracked():
        if path.parts[0].startswith("."):
            continue
        if path.parts[0] not in PACKAGES:
            shown.add(path.parts[0] + ("/" if len(path.parts) > 1 else ""))
            continue
        folders = [folder for folder in reversed(path.parents[:-1]) if "models" not in folder.parts]
        shown.update(f"{folder}/" for folder in folders)
        if path.suffix == ".py" and path.name not in _QUIET:
            shown.add(str(path))
    return sorted(shown)


def listed(readme: str) -> list[str]:
    """Read the entries back from README's section "The tree": two spaces a level, a name, then words."""
    block = readme.partition("## The tree")[2].partition("```")[2].partition("```")[0]
    found: list[str] = []
    parents: list[str] = []
    for line in block.splitlines():
        if not line.strip():
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        found.append("".join([*parents[:depth], name]))
        parents[depth:] = [name]
    return sorted(found)


def draw() -> Iterator[str]:
    """Write the tree."""
    for entry in entries():
        depth = entry.rstrip("/").count("/")
        name = entry.rstrip("/").rpartition("/")[2] + ("/" if entry.endswith("/") else "")
        yield f"{'  ' * depth}{name}".ljust(28) + _first_line(ROOT / entry)


def _first_line(path: Path) -> str:
    path = path / "__init__.py" if path.is_dir() else path
    if path.suffix != ".py" or not path.is_file():
        return ""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".")[:88]


if __name__ == "__main__":
    print("\n".join(line.rstrip() for line in draw()))
