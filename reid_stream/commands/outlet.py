"""`reid-stream outlet`: pass events on to MQTT or to a webhook, as a program of its own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid_stream.commands.reach import CamerasOption, SiteOption, UrlOption, reach

if TYPE_CHECKING:
    from reid_stream.commands.reach import SiteAddress
    from reid_stream.config.settings import Observe
    from reid_stream.outlets.bookmark import Bookmark
    from reid_stream.outlets.presence_board import PresenceBoard
    from reid_stream.publish.subscribe import Subscription

app = typer.Typer(help="Pass events on to MQTT or a webhook.", no_args_is_help=True)
_QUIET_S = 0.5
"""Time without an event after which the position on the stream is stored, seconds."""

NEWS = (
    "identity.entered", "identity.left", "identity.confirmed", "identity.merged", "identity.split", "identity.named",
    "identity.retired", "identity.erased", "camera", "worker", "instruction", "daemon.started", "daemon.stopped",
    "daemon.dropped", "daemon.stalled", "daemon.overloaded", "daemon.recovered", "daemon.clock_set",
)  # fmt: skip
"""Types of events that outlets pass on by default: all that change a state."""
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state", help="File with the position on the stream. Default: one per site and outlet, in the user's folder."
    ),
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from", help="Start if no position is stored: 0 (all), $ (new ones), a stream position or an ISO time."
    ),
]


@app.command()
def webhook(
    target: Annotated[str, typer.Argument(metavar="URL", help="http:// or https:// URL that events are posted to.")],
    cameras: CamerasOption = None,
    url: UrlOption = None,
    site: SiteOption = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type", help="Only this type or prefix (repeatable). Default: all but identity.seen and heartbeats."
        ),
    ] = None,
    camera: Annotated[list[str] | None, typer.Option("--camera", help="Only this camera (repeatable).")] = None,
    secret_file: Annotated[
        Path | None, typer.Option("--secret-file", help="File with the secret that signs (whsec_...).")
    ] = None,
    secret: Annotated[
        str | None, typer.Option(envvar="REID_STREAM_WEBHOOK_SECRET", show_envvar=True, help="The secret itself.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of this outlet, for its kept place.")] = "webhook",
    state: StateOption = None,
    start: FromOption = None,
    give_up_s: Annotated[
        float, typer.Option("--give-up-s", min=1, help="Skip an event that was refused for so many seconds.")
    ] = 86_400.0,
) -> None:
    """Post events to a URL, signed (Standard Webhooks), each until it is accepted; a restart loses none."""
    from reid_stream.errors import ConfigError
    from reid_stream.observe import logs
    from reid_stream.outlets.bookmark import Bookmark, default_path
    from reid_stream.outlets.loop import run, stopping
    from reid_stream.outlets.webhook import Webhook

    logs.configure(logs_of(cameras))
    at = reach(cameras, url, site)
    if secret_file is not None:
        try:
            secret = secret_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"--secret-file must be readable, {secret_file}: {error.strerror}") from error
    with stopping() as stop, Bookmark(state or default_path(at.site, name)) as bookmark:
        outlet = Webhook(target, secret or None, stop, give_up_s=give_up_s)
        with _subscription(at, bookmark.position or start or "$", types or NEWS, camera or []) as subscription:
            _begin(f"posting events of site {at.site} to {target.partition('?')[0]}", subscription, bookmark)
            run(outlet, subscription, bookmark, stop)


@app.command()
def mqtt(
    broker: Annotated[
        str,
        typer.Argument(
            metavar="BROKER",
            envvar="REID_STREAM_MQTT",
            show_envvar=True,
            help="mqtt://[USER:PASSWORD@]HOST[:PORT], or mqtts:// for TLS.",
        ),
    ],
    cameras: CamerasOption = None,
    url: UrlOption = None,
    site: SiteOption = None,
    base: Annotated[str, typer.Option(help="Prefix of all topics.")] = "reid-stream",
    discovery: Annotated[
        str, typer.Option(help="Prefix of Home Assistant's discovery topics; empty for none.")
    ] = "homeassistant",
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            help="Publish events of this type or prefix (repeatable). Default: all but identity.seen and heartbeats.",
        ),
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="File with the broker's password, instead of one in the URL.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="mqtts: authorities (PEM) of the broker's certificate.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of this outlet, for its kept place.")] = "mqtt",
    state: StateOption = None,
    start: FromOption = None,
) -> None:
    """Publish presence and events to MQTT, with discovery for Home Assistant."""
    from dataclasses import replace

    from reid_stream.errors import ConfigError
    from reid_stream.observe import logs
    from reid_stream.outlets.bookmark import Bookmark, default_path
    from reid_stream.outlets.home_assistant import Topics
    from reid_stream.outlets.loop import run, stopping
    from reid_stream.outlets.mqtt import Broker, MqttOutlet

    logs.configure(logs_of(cameras))
    at = reach(cameras, url, site)
    address = Broker.parse(broker)
    if password_file is not None:
        try:
            address = replace(address, password=password_file.read_text(encoding="utf-8").strip())
        except OSError as error:
            raise ConfigError(f"--password-file must be readable, {password_file}: {error.strerror}") from error
    if set(base + discovery) & set("#+") or base.startswith("/"):
        raise ConfigError(f"--base and --discovery must be topics without + and #, got {base!r} and {discovery!r}")
    with stopping() as stop, Bookmark(state or default_path(at.site, name)) as bookmark:
        board, board_at = _board(at, cameras)
        outlet = MqttOutlet(
            address, Topics(at.site, base, discovery), board, board_at, kinds=types or NEWS, stop=stop, ca_file=ca_file
        )
        try:
            # What happened before `board_at` is in the state; events in between are published alone.
            with _subscription(at, bookmark.position or start or board_at, [], []) as subscription:
                _begin(f"publishing site {at.site} to {address.name} under {base}/{at.site}", subscription, bookmark)
                run(outlet, subscription, bookmark, stop)
        finally:
            outlet.close()


def logs_of(cameras: Path | None) -> "Observe":
    """Return the settings of the log: those of cams.yaml, or the defaults."""
    from reid_stream.config import cams_yaml
    from reid_stream.config.identify_settings import IdentifySettings
    from reid_stream.config.settings import Observe

    return cams_yaml.load(cameras, kind=IdentifySettings).observe if cameras is not None else Observe()


def _subscription(
    at: "SiteAddress", start: str, types: "list[str] | tuple[str, ...]", cameras: list[str]
) -> "Subscription":
    from reid_stream.publish.subscribe import subscribe

    return subscribe(
        at.url,
        site=at.site,
        start=start,
        types=tuple(types),
        cameras=tuple(cameras),
        settings=at.login,
        block_s=_QUIET_S,
    )


def _board(at: "SiteAddress", cameras: Path | None) -> "tuple[PresenceBoard, str]":
    """Return the present state of the site, and the position on the stream where it was read."""
    from reid_stream.config import cams_yaml
    from reid_stream.config.identify_settings import IdentifySettings
    from reid_stream.config.settings import Redis
    from reid_stream.outlets.present_state import present_state
    from reid_stream.publish.redis_client import connect
    from reid_stream.records import CameraId

    known = (
        [CameraId(one.id) for one in cams_yaml.load(cameras, kind=IdentifySettings).cameras if one.enabled]
        if cameras is not None
        else []
    )
    with connect(at.login or Redis(), url=at.url) as client:
        return present_state(client, at.site, at.url, known)


def _begin(text: str, subscription: "Subscription", bookmark: "Bookmark") -> None:
    from reid_stream.console.output import Output

    where = "continuing" if bookmark.position else "beginning"
    Output(error=True).say(f"{text}, {where} at {subscription.position}; Ctrl-C ends", style="dim")
