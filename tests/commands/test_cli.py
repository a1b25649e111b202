"""The command line: several sources, missing packages, the masked process title."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reid_stream.cli import missing_extra, repeat_option
from reid_stream.commands.reach import SiteAddress, reach
from tests.integration.program import environment


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("--cameras a b --plain", "--cameras a --cameras b --plain"),
        ("--plain --cameras a b c", "--plain --cameras a --cameras b --cameras c"),
        ("--cameras a --duration 3", "--cameras a --duration 3"),
        ("--cameras a check --cameras b c", "--cameras a check --cameras b c"),
        ("--cameras check b", "--cameras check --cameras b"),
        ("events --cameras a --camera b", "events --cameras a --camera b"),
        ("--cameras", "--cameras"),
    ],
)
def test_the_option_for_cameras_takes_several_values(given: str, wanted: str) -> None:
    assert repeat_option(given.split(), until=("check", "events")) == wanted.split()


def test_a_package_of_an_extra_that_is_missing_is_one_line() -> None:
    text = missing_extra(ModuleNotFoundError("No module named 'matplotlib.figure'", name="matplotlib.figure"))
    assert text is not None
    assert "pip install 'reid-stream[eval]'" in text
    assert "\n" not in text
    assert missing_extra(ModuleNotFoundError("No module named 'reid_stream.x'", name="reid_stream.x")) is None
    assert missing_extra(ValueError("x")) is None


def test_a_hint_repeats_the_options_but_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert reach(None, "redis://h:1/0", "shop").hint("identity undo 1-1") == (
        "reid-stream identity undo 1-1 --url redis://h:1/0 --site shop"
    )
    assert "geheim" not in reach(None, "redis://:geheim@h:1/0", None).hint("identity log")
    monkeypatch.setenv("REID_STREAM_REDIS", "redis://h:1/0")
    assert reach(None, "redis://h:1/0", None).hint("identity log") == "reid-stream identity log"
    assert SiteAddress(None, "", "x", "--cameras 'my cams.yaml'").hint("events").endswith("--cameras 'my cams.yaml'")


def test_passwords_of_arguments_are_not_shown_by_ps(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['reid-stream', '--cameras', 'http://h/x?user=a&password=geheim1', "
        "'rtsp://u:gehe im2@h/s', 'rtsp://h/user=a_password=geheim3_channel=1.sdp', '--url=redis://:geheim4@h']\n"
        "from reid_stream.cli import _mask_arguments; _mask_arguments()\n"
        "print(open('/proc/self/cmdline').read())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(None, tmp_path), check=True
    )
    for secret in ("geheim1", "gehe", "im2", "geheim3", "geheim4"):
        assert secret not in done.stdout
    assert "reid-stream" in done.stdout


@pytest.mark.parametrize("module", ["reid_stream.cli", "trainer.cli"])
def test_the_help_names_no_type_of_options_without_a_value(module: str, tmp_path: Path) -> None:
    command = {"reid_stream.cli": "check", "trainer.cli": "fit"}[module]
    code = f"import sys; sys.argv = ['x', {command!r}, '--help']; from {module} import main; main()"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(None, tmp_path), check=True
    ).stdout
    assert "--help" in shown
    assert "<bool>" not in shown


@pytest.mark.slow
def test_names_of_folders_are_utf8_whatever_the_locale(tmp_path: Path) -> None:
    folder = tmp_path / "größe"
    folder.mkdir()
    (folder / "cams.yaml").write_text(
        "site: lab\nredis: {directory: rédis}\nobserve: {port: null}\ncameras: [{id: a, url: ./nöne.mp4}]\n", "utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-m", "reid_stream", "check", "--json", "--cameras", str(folder / "cams.yaml")],
        capture_output=True,
        check=False,
        env=environment(None, tmp_path) | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    )
    assert b"Traceback" not in done.stderr, done.stderr
    findings = json.loads(done.stdout.decode("utf-8"))["findings"]
    assert any("größe/rédis" in found["text"] for found in findings if found["check"] == "redis")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_is_full_is_one_line(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "reid_stream", "models", "list"],
            env=environment(None, tmp_path),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr == "reid-stream: the output must be written, found: No space left on device; free some space\n"
