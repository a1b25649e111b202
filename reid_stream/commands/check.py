"""`reid-stream check`: everything that the daemon will need, tried at once."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reid_stream.commands.readiness import Finding, Readiness

_COLUMNS = {
    "codec": ("codec", "{}"),
    "size": ("size", "{}"),
    "fps": ("fps", "{:.1f}"),
    "first frame": ("first_frame_s", "{:.2f} s"),
    "clock": ("clock", "{}"),
    "skew": ("skew_s", "{:+.3f} s"),
}
"""Heads of the table, with the fact below each and its format."""


def check(
    cameras: Annotated[
        list[str], typer.Option(help="cams.yaml to check; or video files and URLs of cameras, to check without one.")
    ],
    offline: Annotated[bool, typer.Option("--offline", help="Do not connect to cameras and Redis.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: every check with its result.")] = False,
) -> None:
    """Check cams.yaml, models, folders, Redis and the metrics port, and open every camera.

    Prints codec, size, rate, time to the first frame and clock of each camera. Exits with the code of the first failed
    check: 2 configuration, 3 model, 4 Redis, 1 camera.
    """
    from reid_stream.commands.readiness import Readiness
    from reid_stream.console.output import write_json

    show = None if as_json else _Printer()
    done = (
        Readiness(cameras, is_offline=offline, on_finding=lambda _finding: None)
        if show is None
        else Readiness(cameras, is_offline=offline, on_finding=show.show, on_wait=show.wait)
    )
    done.run()
    if as_json:
        write_json({"ok": done.error is None, "findings": done.findings})
        if done.error is not None:
            raise typer.Exit(done.error.exit_code)
    elif show is not None:
        show.close(done)
    if done.error is not None:
        raise done.error


class _Printer:
    """Print findings as they come, and the cameras as a table at the end."""

    def __init__(self) -> None:
        from reid_stream.console.output import Output

        self._out = Output()
        self._cameras: list[Finding] = []

    def show(self, finding: "Finding") -> None:
        if finding.check == "cams.yaml" and finding.result == "failed":
            return  # it ends the command, whose error it is
        if finding.check == "camera":
            self._cameras.append(finding)
            return
        self._table()
        mark = {"ok": "ok", "warning": "!!", "failed": "--"}[finding.result]
        self._out.mark(mark, f"{finding.check}: {finding.text}")

    def wait(self, text: str) -> None:
        self._out.say(f"   {text}")

    def close(self, _done: "Readiness") -> None:
        self._table()
        sys.stdout.flush()

    def _table(self) -> None:
        """Print the cameras that were checked: a table of those that work, a line for each other one."""
        from rich.text import Text

        from reid_stream.console.output import MARKS, Rows

        if not self._cameras:
            return
        table = Rows("camera", "", *_COLUMNS, right=("fps", "first frame", "skew"))
        for finding in self._cameras:
            if finding.result == "ok":
                facts = finding.facts
                cells = [form.format(facts[name]) if name in facts else "" for name, form in _COLUMNS.values()]
                if "main_size" in facts:
                    cells[1] += f", people cut out of {facts['main_size']}"
                if "timestamps" in facts:
                    cells[2] += ", no timestamps"
                table.add_row(finding.name, Text("ok", MARKS["ok"]), *cells)
        if table.row_count:
            self._out.print(table)
        for finding in self._cameras:
            if finding.result != "ok":
                self._out.mark("--", f"{finding.name}: {finding.text}")
        self._cameras.clear()
