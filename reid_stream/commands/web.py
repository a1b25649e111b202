"""`reid-stream web`: the web console and the HTTP API of a site; users who may sign in."""

import os
import signal
import sys
import threading
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from reid_stream.commands.web_process import PARENT

app = typer.Typer(help="The web console and the HTTP API of a site.", no_args_is_help=False)
_LOOK_S = 0.5
_NICE = 5
"""Beside a daemon, cameras have priority."""


class RoleName(StrEnum):
    """Role of a user."""

    viewer = "viewer"
    operator = "operator"
    admin = "admin"


@app.callback(invoke_without_command=True)
def web(
    context: typer.Context,
    cameras: Annotated[Path | None, typer.Option(help="cams.yaml: the site, Redis, the store, `web`.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: `web.host`.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="TCP port. Default: `web.port`.")] = None,
) -> None:
    """Serve the web console and the HTTP API until Ctrl-C or SIGTERM."""
    if context.invoked_subcommand is not None:
        return
    if cameras is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
    serve(cameras, host, port)


@app.command()
def user(
    name: Annotated[str, typer.Argument(help="Name of letters, digits and _.@-; recorded with corrections.")],
    cameras: Annotated[Path | None, typer.Option(help="cams.yaml with `web.users_file`.")] = None,
    file: Annotated[Path | None, typer.Option(help="Users file, instead of --cameras.")] = None,
    role: Annotated[RoleName, typer.Option(help="viewer reads, operator corrects, admin erases.")] = RoleName.viewer,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the user; open sessions end.")] = False,
) -> None:
    """Add a user, or change password and role; the password is asked for, or read from a pipe."""
    from reid_stream.config import cams_yaml
    from reid_stream.config.identify_settings import IdentifySettings
    from reid_stream.console.output import Output
    from reid_stream.errors import ConfigError
    from reid_stream.web.accounts import put_user, remove_user

    path = (
        file
        if file is not None
        else cams_yaml.load(cameras, kind=IdentifySettings).web.users_file
        if cameras is not None
        else None
    )
    if path is None:
        raise ConfigError("--file or --cameras with web.users_file must name the users file, found neither")
    out = Output()
    if remove:
        remove_user(path, name)
        out.say(f"{path}: {name} removed")
        return
    if sys.stdin.isatty():
        password = typer.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\n")
    put_user(path, name, role.value, password)
    out.say(f"{path}: {name} is {role.value}")


def serve(cameras: Path, host: str | None, port: int | None) -> None:
    """Serve until a signal or the end of the daemon that started this.

    Raises:
        ConfigError, ModelError, BrokerError: with the exit code that each carries.
    """
    from reid_stream.config import cams_yaml
    from reid_stream.config.identify_settings import IdentifySettings
    from reid_stream.console.output import Output
    from reid_stream.observe import logs
    from reid_stream.web.server import WebServer
    from reid_stream.web.site import open_site

    os.umask(0o077)
    settings = cams_yaml.load(cameras, kind=IdentifySettings)
    given = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update={"web": settings.web.model_copy(update=given)})
    logs.configure(settings.observe)
    logs.hide(settings)
    logs.catch()
    stop = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup
            signal.signal(number, ask)
    _end_with_parent(stop)
    with open_site(settings, path=cameras) as site:
        server = WebServer(site, settings.web.host, settings.web.port)
        # The daemon prints it itself, where it knows the port.
        if PARENT not in os.environ or not settings.web.port:
            Output(error=True).say(f"web console on {server.url}", style="dim")
        server.run(stop)


def _end_with_parent(stop: threading.Event) -> None:
    parent = os.environ.get(PARENT, "")
    if not parent.isdigit():
        return
    os.nice(_NICE)

    def watch() -> None:
        while os.getppid() == int(parent):
            if stop.wait(_LOOK_S):
                return
        stop.set()

    threading.Thread(target=watch, name="parent", daemon=True).start()
