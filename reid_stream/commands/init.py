"""`reid-stream init`: try cameras and write a cams.yaml for them."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from reid_stream.config.settings import Camera
    from reid_stream.console.output import Output
    from reid_stream.ingest.camera_search import FoundCamera

_PASSWORD = "REID_STREAM_CAMERA_PASSWORD"  # noqa: S105 (the name of a variable)


def init(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="CAMERA...", help="Hosts, URLs or video files. Without any they are asked for."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="File to write.")] = Path("cams.yaml"),
    site: Annotated[str, typer.Option(help="Name of the site: prefix of global IDs.")] = "site",
    user: Annotated[str | None, typer.Option(help="User name at the cameras. Default: none, or asked for.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    discover: Annotated[
        bool, typer.Option("--discover", help="Look for ONVIF cameras on the local networks, too.")
    ] = False,
) -> None:
    """Try cameras and write a cams.yaml; of a host alone, the paths of common makers are tried.

    With --discover, and where cameras are asked for, ONVIF cameras on the local networks are found by themselves.

    The password is asked for, or taken from REID_STREAM_CAMERA_PASSWORD; the file refers to that variable. A picture of
    each camera is written beside the file. A camera that fails is written with `enabled: false` and the reason.
    """
    from reid_stream.config import cams_yaml
    from reid_stream.console.output import Output, count
    from reid_stream.errors import ConfigError
    from reid_stream.ingest.probe import CameraReport

    os.umask(0o077)  # addresses, and pictures of people
    say = Output(error=True)
    if out.exists() and not force:
        raise ConfigError(f"--out must be a new file, {out} is there; name another, or replace it with --force")
    given = list(sources or [])
    is_asking = not given and sys.stdin.isatty()
    if discover or is_asking:
        given += _discovered(say, is_asking=is_asking and not discover)
    if is_asking and not given:
        given = _asked(say)
    if not given:
        raise ConfigError("CAMERA must name at least one host, URL or video file, or --discover must find one")
    if user is not None and not os.environ.get(_PASSWORD) and sys.stdin.isatty():
        os.environ[_PASSWORD] = typer.prompt(f"Password of {user} at the cameras", hide_input=True)
    found = [_try(camera, is_host, say) for camera, is_host in _cameras(given, user)]
    _write(out, site, found)
    works = [one for one in found if isinstance(one.report, CameraReport)]
    if works:
        cams_yaml.load(out)  # the written file can be loaded, unless no camera in it is enabled
    for one in works:
        _picture(out.parent, one, say)
    say.say(f"{out}: {count(len(works), 'camera works', 'cameras work')} of {len(found)}")
    if user is not None:
        say.say(f"the password is not in the file: export {_PASSWORD}=... before the daemon starts")
    file = shlex.quote(str(out))
    say.say(f"next: reid-stream check --cameras {file} && reid-stream --cameras {file}")
    if not works:
        raise typer.Exit(1)


def _asked(say: "Output") -> list[str]:
    say.say(
        "Addresses of cameras, one a line: a host such as 10.0.0.5, a URL such as rtsp://HOST/path, or a video file."
    )
    found: list[str] = []
    while text := typer.prompt(f"camera {len(found) + 1} (empty to end)", default="", show_default=False).strip():
        found.append(text)
    return found


def _discovered(say: "Output", *, is_asking: bool) -> list[str]:
    """Return the hosts of the ONVIF cameras that are found, if the user wants them."""
    from reid_stream.console.output import count
    from reid_stream.console.printable import printable
    from reid_stream.ingest.onvif import discover

    with say.status("looking for ONVIF cameras"):
        found = discover()
    for one in found:
        say.say(f"   {one.host}  {printable(' '.join(filter(None, (one.name, one.hardware))))}")
    say.say(f"{count(len(found), 'ONVIF camera', 'ONVIF cameras')} found on the local networks")
    if not found or (is_asking and not typer.confirm("use them?", default=True)):
        return []
    return [f"[{one.host}]" if ":" in one.host else one.host for one in found]


def _cameras(given: list[str], user: str | None) -> "list[tuple[Camera, bool]]":
    """Return the cameras of the addresses, and whether only the host is known."""
    from reid_stream.config.settings import Camera
    from reid_stream.config.sources import named
    from reid_stream.ingest.camera_search import is_host

    found = []
    wholes = [source if "://" in source or Path(source).exists() else f"rtsp://{source}" for source in given]
    for name, url in named(wholes):
        is_network = "://" in url
        login = {"username": user, "password": os.environ.get(_PASSWORD)} if user is not None and is_network else {}
        camera = Camera.model_validate({"id": name, "url": url if is_network else str(Path(url).absolute()), **login})
        found.append((camera, is_host(url)))
    return found


def _try(camera: "Camera", is_host: bool, say: "Output") -> "FoundCamera":
    from reid_stream.config.settings import Ingest
    from reid_stream.ingest.camera_search import FoundCamera, search
    from reid_stream.ingest.probe import CameraReport, probe

    settings = Ingest(isolate=False)
    with say.status(f"trying {camera.id}"):
        found = search(camera, settings) if is_host else FoundCamera(camera, probe(camera, settings, look_s=0.0))
    if isinstance(found.report, CameraReport):
        width, height = found.report.size
        by = f", the path of {found.maker}" if found.maker else ""
        say.mark("ok", f"{camera.id}: {found.report.name}, {width}x{height} {found.report.codec}{by}")
    else:
        say.mark("--", f"{camera.id}: {found.report.reason}")
    return found


def _write(out: Path, site: str, found: "list[FoundCamera]") -> None:
    from reid_stream.errors import ConfigError
    from reid_stream.ingest.probe import CameraFailure

    lines = [
        "# Written by `reid-stream init`. Every setting: docs/reference/configuration.md, or configs/default.yaml.",
        f"site: {site}",
        "web:",
        "  enabled: true     # http://127.0.0.1:8080",
        "cameras:",
    ]
    for one in found:
        lines += [f"  - id: {json.dumps(one.camera.id)}", f"    url: {json.dumps(one.camera.url.get_secret_value())}"]
        if one.camera.username is not None:
            lines += [f"    username: {json.dumps(one.camera.username)}", f"    password: ${{{_PASSWORD}}}"]
        if isinstance(one.report, CameraFailure):
            lines.append(f"    enabled: false    # {' '.join(one.report.reason.split())}")
    part = out.with_name(f".{out.name}.part")
    try:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
        part.replace(out)
    except OSError as error:
        raise ConfigError(f"--out must be a file that can be written, {out}: {error.strerror}") from error


def _picture(folder: Path, one: "FoundCamera", say: "Output") -> None:
    """Write a picture of a camera, so that the user can verify that it is the right one."""
    import cv2

    from reid_stream.config.settings import Ingest
    from reid_stream.errors import StreamError
    from reid_stream.ingest.camera_search import first_picture

    try:
        image = first_picture(one.camera, Ingest(isolate=False))
    except StreamError as error:
        say.mark("!!", f"{one.camera.id}: {error}")
        return
    path = folder / f"{one.camera.id}.jpg"
    path.write_bytes(cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())
    say.say(f"   picture: {path}", style="dim")
