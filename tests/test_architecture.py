"""What holds for the repository as a whole."""

import importlib.util
import re
import resource
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import typer

from reid_stream.cli import app

ROOT = Path(__file__).parents[1]
MOST_LINES = 400
MOST_BYTES = 40 << 20
# Split, so that this file does not hold what it looks for.
HOSTS = re.compile("|".join(["py" + r"pi\.org", "python" + "hosted", "registry." + "npmjs", "deb." + r"debian\.org"]))
MACHINE_PATHS = re.compile("|".join(["/wo" + "rk/", r"/\.lib" + "rary/", "/ro" + r"ot/\."]))

OPTIONS = {
    "--cameras",
    "--duration",
    "--plain",
    "--replay",
    "--run-id",
    "--version",
    "bench all --cameras",
    "bench all --clip",
    "bench all --json",
    "bench all --readme",
    "bench all --seconds",
    "bench day --cameras",
    "bench day --embedder",
    "bench day --hours",
    "bench day --json",
    "bench day --people-per-hour",
    "bench day --plot",
    "bench day --retention-s",
    "bench decode --clip",
    "bench decode --frames",
    "bench decode --json",
    "bench detector --batch",
    "bench detector --bundle",
    "bench detector --calls",
    "bench detector --clip",
    "bench detector --json",
    "bench embedder --batch",
    "bench embedder --bundle",
    "bench embedder --calls",
    "bench embedder --clip",
    "bench embedder --json",
    "bench engines --batch",
    "bench engines --json",
    "bench engines --seconds",
    "bench engines --threads",
    "bench engines bundle",
    "bench matcher --embedder",
    "bench matcher --exemplars",
    "bench matcher --json",
    "bench matcher --seconds",
    "bench matcher --size",
    "bench matcher --updates",
    "bench peers --json",
    "bench peers --python",
    "bench peers --reid",
    "bench peers --set",
    "bench peers --weights",
    "bench pipeline --cameras",
    "bench pipeline --clip",
    "bench pipeline --detector",
    "bench pipeline --embedder",
    "bench pipeline --find-max",
    "bench pipeline --gpu-frames",
    "bench pipeline --json",
    "bench pipeline --max-fps",
    "bench pipeline --people",
    "bench pipeline --seconds",
    "bench recovery --cameras",
    "bench recovery --embedder",
    "bench recovery --json",
    "bench recovery --size",
    "bench soak --cameras",
    "bench soak --clip",
    "bench soak --json",
    "bench soak --max-fps",
    "bench soak --minutes",
    "bench soak --plot",
    "bench store --crops",
    "bench store --embedder",
    "bench store --folder",
    "bench store --json",
    "bench store --per-track",
    "bench store --tracks-per-hour",
    "bench workers --cameras",
    "bench workers --clip",
    "bench workers --count",
    "bench workers --detector",
    "bench workers --embedder",
    "bench workers --json",
    "bench workers --seconds",
    "check --cameras",
    "check --offline",
    "compile --arch",
    "compile --cameras",
    "compile --out",
    "compile --pictures",
    "compile --precision",
    "compile bundle",
    "drill cameras --clip",
    "drill cameras --json",
    "drill cameras --short",
    "drill cameras name",
    "drill crash --json",
    "drill crash --kills",
    "drill crash --points",
    "drill crash --recording",
    "drill crash --seconds",
    "drill crash --seed",
    "drill crash --short",
    "drill crash name",
    "drill metrics --json",
    "drill metrics --short",
    "drill overload --cameras",
    "drill overload --clip",
    "drill overload --json",
    "drill overload --minutes",
    "drill overload --short",
    "drill redis --clip",
    "drill redis --json",
    "drill redis --short",
    "drill redis name",
    "eval --begin",
    "eval --budget",
    "eval --cameras",
    "eval --json",
    "eval --keep",
    "eval --lanes",
    "eval --plot",
    "eval --recording",
    "eval --store",
    "eval --sweep",
    "eval --truth",
    "events --camera",
    "events --cameras",
    "events --count",
    "events --follow",
    "events --from",
    "events --json",
    "events --site",
    "events --type",
    "events --url",
    "identity erase --cameras",
    "identity erase --json",
    "identity erase --site",
    "identity erase --url",
    "identity erase --wait",
    "identity erase --who",
    "identity erase --why",
    "identity erase --yes",
    "identity erase person",
    "identity list --cameras",
    "identity list --json",
    "identity list --site",
    "identity list --url",
    "identity log --cameras",
    "identity log --json",
    "identity log --site",
    "identity log --url",
    "identity merge --cameras",
    "identity merge --duplicates",
    "identity merge --json",
    "identity merge --site",
    "identity merge --url",
    "identity merge --wait",
    "identity merge --who",
    "identity merge --why",
    "identity merge gone",
    "identity merge into",
    "identity name --cameras",
    "identity name --json",
    "identity name --site",
    "identity name --url",
    "identity name --wait",
    "identity name --who",
    "identity name --why",
    "identity name label",
    "identity name person",
    "identity show --beside",
    "identity show --cameras",
    "identity show --explain",
    "identity show --json",
    "identity show --site",
    "identity show --store",
    "identity show --url",
    "identity show person",
    "identity split --camera",
    "identity split --cameras",
    "identity split --json",
    "identity split --site",
    "identity split --track",
    "identity split --url",
    "identity split --visit",
    "identity split --wait",
    "identity split --who",
    "identity split --why",
    "identity split person",
    "identity undo --cameras",
    "identity undo --json",
    "identity undo --site",
    "identity undo --url",
    "identity undo --wait",
    "identity undo --who",
    "identity undo --why",
    "identity undo instruction",
    "models activate --anew",
    "models activate --cameras",
    "models activate bundle",
    "models shadow --cameras",
    "models shadow --embedder",
    "models shadow --json",
    "models shadow --store",
    "models shadow --truth",
    "models shadow bundle",
    "models show name",
    "models wrap --colour",
    "models wrap --decoder",
    "models wrap --height",
    "models wrap --kind",
    "models wrap --licence",
    "models wrap --name",
    "models wrap --person",
    "models wrap --scale",
    "models wrap --width",
    "models wrap model",
    "models wrap out",
    "reidentify --cameras",
    "reidentify --embedder",
    "reidentify --json",
    "reidentify --write",
    "reidentify store",
    "simulate ablation --calm",
    "simulate ablation --crops",
    "simulate ablation --data",
    "simulate ablation --embedder",
    "simulate ablation --json",
    "simulate ablation --part",
    "simulate ablation --plot",
    "simulate ablation --seeds",
    "simulate ablation --set",
    "simulate ablation --threads",
    "simulate ablation --world",
    "simulate dial --calm",
    "simulate dial --crops",
    "simulate dial --data",
    "simulate dial --embedder",
    "simulate dial --json",
    "simulate dial --part",
    "simulate dial --plot",
    "simulate dial --seeds",
    "simulate dial --set",
    "simulate dial --threads",
    "simulate dial --world",
    "simulate store --crops",
    "simulate store --data",
    "simulate store --named",
    "simulate store --part",
    "simulate store --persons",
    "simulate store --seed",
    "simulate store --set",
    "simulate store --world",
    "simulate store out",
    "simulate world --calm",
    "simulate world --crops",
    "simulate world --data",
    "simulate world --embedder",
    "simulate world --json",
    "simulate world --keep",
    "simulate world --part",
    "simulate world --seeds",
    "simulate world --set",
    "simulate world --threads",
    "simulate world --world",
    "topology --json",
    "topology --plot",
    "topology --recording",
    "topology --site",
    "topology --url",
}


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


readme_tree = _load("readme_tree")


def _text(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8", errors="ignore")


def test_no_module_is_longer_than_one_can_read_at_a_sitting() -> None:
    long = {
        str(path): count
        for path in readme_tree.tracked()
        if path.suffix == ".py" and (count := len(_text(path).splitlines())) > MOST_LINES
    }
    assert not long


def test_the_tree_in_the_readme_is_the_tree_on_disk() -> None:
    shown = readme_tree.listed(_text(Path("README.md")))
    assert shown == readme_tree.entries(), "run `python tests/readme_tree.py` and put it under `## The tree`"


def test_the_options_are_the_ones_that_were_decided() -> None:
    assert set(_options(typer.main.get_command(app), "")) == OPTIONS


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
    assert sum((ROOT / path).stat().st_size for path in readme_tree.tracked()) < MOST_BYTES


def test_no_file_names_a_package_host_or_a_path_of_one_machine() -> None:
    for path in readme_tree.tracked():
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
        # Processor time, since others may use the machine, too.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "reid_stream", "--help"], cwd=ROOT, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # The best of several: the first one compiles.
    assert min(seconds() for _ in range(4)) < 0.8
