"""docs/reference/cli.md: every command of `reid-stream` and `reid-train` with its options."""

import re

import typer
from typer.cli import get_docs_for_click
from typer.main import get_command

from docs.generators.markdown import head
from reid_stream.cli import app as stream_app
from trainer.cli import app as train_app

_TEXT = """\
Two programs are installed: `reid-stream` runs and inspects the daemon, `reid-train` trains and evaluates models (extra
`train`). Measurements that need a checkout are `python -m benchmarks`; see [Method](../benchmarks/method.md).

## Exit codes

| code | meaning |
| --- | --- |
| 0 | finished normally |
| 1 | another error, such as a camera that `check` cannot read or that `--replay fast` cannot replay |
| 2 | the configuration or an option is wrong; every fault is listed with file, line, key, found and allowed values |
| 3 | a model bundle is missing or broken |
| 4 | Redis is unreachable or refuses to serve |
| 5 | a pipeline stage hung and could not be replaced; restart the daemon (`Restart=on-failure` in systemd) |
| 6 | another daemon has the site, its spool, store or embedded Redis folder |
"""


def page() -> str:
    """Generate the page."""
    programs = (("reid-stream", stream_app), ("reid-train", train_app))
    return head("Command line", _TEXT) + "\n" + "\n".join(_program(app, name) for name, app in programs)


def _program(app: typer.Typer, name: str) -> str:
    command = get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name=name)
    # One level down, since the page has its own title.
    text = re.sub(r"^(#+) ", r"#\1 ", text, flags=re.MULTILINE)
    # Placeholders such as <path> stand outside of code in prose.
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"
