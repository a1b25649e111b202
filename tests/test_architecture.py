"""Rules that hold for the repository as a whole."""

import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import typer

from reid_stream.cli import app

ROOT = Path(__file__).parents[1]
MOST_LINES = 400
MOST_BYTES = 60 << 20
# Split, so that this file does not hold what it looks for.
HOSTS = re.compile("|".join(["py" + r"pi\.org", "python" + "hosted", "registry." + "npmjs", "deb." + r"debian\.org"]))
MACHINE_PATHS = re.compile("|".join(["/wo" + "rk/", r"/\.lib" + "rary/", "/ro" + "ot/"]))

OPTIONS = Path(__file__).parent / "golden" / "options.txt"
MOST_TOP_MODULES = 10


def _tracked() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [Path(name) for name in names if name and (ROOT / name).is_file()]


def _text(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8", errors="ignore")


def test_no_module_is_longer_than_one_can_read_at_a_sitting() -> None:
    long = {
        str(path): count
        for path in _tracked()
        if path.suffix == ".py" and (count := len(_text(path).splitlines())) > MOST_LINES
    }
    assert not long


def test_the_top_of_the_package_is_the_data_and_the_hot_path() -> None:
    assert len(list((ROOT / "reid_stream").glob("*.py"))) <= MOST_TOP_MODULES


def test_tests_mirror_the_packages() -> None:
    modules = [path for path in _tracked() if path.suffix == ".py"]
    tests = [path for path in modules if path.parts[0] == "tests" and path.name.startswith("test_")]
    tested = {path.parent.relative_to("tests") for path in tests} - {Path()}
    packages = {path.parent.relative_to("reid_stream") for path in modules if path.parts[0] == "reid_stream"}
    packages |= {path.parent for path in modules if path.parts[0] in ("trainer", "benchmarks")}
    packages -= {Path()}
    # Of no package: images and services, pages, fuzzing, the whole daemon.
    assert tested - packages == {Path(name) for name in ("deploy", "docs", "fuzz", "integration")}
    # Servers for the tests of other packages.
    assert packages - tested == {Path("benchmarks/rtsp")}


def test_everything_is_printed_by_the_console_package() -> None:
    # Others' text must neither be taken for markup nor reach a terminal with its control characters.
    made = re.compile(r"\b(Console|Table)\(|from rich\.(console|table) import|\btyper\.echo\(|(?<!\.)\bprint\(")
    found = {
        f"{path}:{number}": line.strip()
        for path in _tracked()
        if path.suffix == ".py" and path.parts[0] == "reid_stream" and path.parts[1] != "console"
        for number, line in enumerate(_text(path).splitlines(), 1)
        if made.search(line)
    }
    allowed = {
        "reid_stream/cli.py": 3,  # version, help and the error, which is escaped there
        "reid_stream/commands/web.py": 1,  # help
        "reid_stream/observe/logs.py": 1,  # log lines, escaped there
        "reid_stream/evaluation/report.py": 1,  # the type
    }
    counts: dict[str, int] = {}
    for place in found:
        file = place.rpartition(":")[0]
        counts[file] = counts.get(file, 0) + 1
    assert counts == allowed, found


def test_the_options_are_the_ones_that_were_decided() -> None:
    decided = OPTIONS.read_text().splitlines()
    assert sorted(_options(typer.main.get_command(app), "")) == decided


def _options(command: Any, name: str) -> list[str]:
    found = [
        f"{name} {max(parameter.opts, key=len)}".strip()
        for parameter in command.params
        if not parameter.name or "completion" not in parameter.name
    ]
    for child, inner in getattr(command, "commands", {}).items():
        found += _options(inner, f"{name} {child}".strip())
    return found


def test_all_files_together_are_small() -> None:
    assert sum((ROOT / path).stat().st_size for path in _tracked()) < MOST_BYTES


def test_no_file_names_a_package_host_or_a_path_of_one_machine() -> None:
    for path in _tracked():
        found = HOSTS.search(_text(path)) or MACHINE_PATHS.search(_text(path))
        assert found is None, f"{path}: {found}"


def test_the_package_imports_without_heavy_libraries() -> None:
    heavy = [
        "av",
        "cv2",
        "numpy",
        "openvino",
        "onnxruntime",
        "torch",
        "trackers",
        "supervision",
        "scipy",
        "pydantic",
        "redis",
    ]
    code = f"import sys, reid_stream; sys.exit(', '.join(set({heavy!r}) & set(sys.modules)) or None)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_comes_at_once() -> None:
    def seconds() -> float:
        # CPU time, since others may use the machine, too.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "reid_stream", "--help"], cwd=ROOT, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # The best of several: the first one compiles.
    assert min(seconds() for _ in range(4)) < 0.8
