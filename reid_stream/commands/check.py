"""`reid-stream check`: the configuration, the models, then every camera at once."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from reid_stream.config.settings import Settings
    from reid_stream.errors import BrokerError
    from reid_stream.ingest.probe import CameraReport


def check(
    cameras: Annotated[Path, typer.Option(help="cams.yaml to check.")],
    offline: Annotated[bool, typer.Option("--offline", help="Leave cameras and Redis alone.")] = False,
) -> None:
    """Check cams.yaml, the models, Redis, and open every camera: codec, size, rate, time to first frame, clock."""
    from rich.console import Console
    from rich.table import Table

    from reid_stream.config import cams_yaml
    from reid_stream.errors import StreamError
    from reid_stream.ingest.probe import CameraFailure, CameraReport, probe_all
    from reid_stream.ingest.stats import clock_spread

    console = Console()
    settings = cams_yaml.load(cameras)
    console.print(f"[green]ok[/] {cameras}: site {settings.site}, {len(settings.cameras)} cameras", highlight=False)
    _tell_networks(console, settings)
    if offline:
        return
    broken = _check_redis(console, settings)
    enabled = [camera for camera in settings.cameras if camera.enabled]
    table = Table("camera", "", "codec", "size", "fps", "first frame", "clock", "skew", box=None, header_style="bold")
    failed = 0
    answers = probe_all(enabled, settings.ingest, on_wait=partial(_say_wait, console))
    for answer in answers:
        if isinstance(answer, CameraFailure):
            failed += 1
            table.add_row(answer.camera, "[red]--[/]", answer.reason)
            continue
        table.add_row(
            answer.camera,
            "[green]ok[/]",
            f"{answer.codec}, polled" if answer.is_polled else answer.codec,
            f"{answer.size[0]}x{answer.size[1]}",
            _rate(answer),
            f"{answer.first_frame_s:.2f} s",
            answer.clock if answer.is_used else f"{answer.clock} (its own is too far off)",
            "" if answer.skew_s is None else f"{answer.skew_s:+.3f} s",
        )
    console.print(table)
    apart = clock_spread({answer.camera: answer.skew_s for answer in answers if isinstance(answer, CameraReport)})
    if apart is not None:
        # Half a second at walking pace is one step: a person seen there before here.
        mark, advice = ("[green]ok[/]", "") if apart.by_s < 0.5 else ("[yellow]!![/]", "; set all to one time server")
        console.print(
            f"{mark} clocks of the cameras: {apart.ahead} is ahead of {apart.behind} by {apart.by_s:.3f} s{advice}",
            highlight=False,
        )
    for name in [camera.id for camera in enabled if camera.tls == "unverified"]:
        console.print(f"[yellow]!![/] {name}: tls is unverified, any certificate is taken", highlight=False)
    if broken is not None:
        raise broken
    if failed:
        raise StreamError(f"{failed} of {len(enabled)} cameras do not answer")


def _say_wait(console: "Console", camera: str, limit_s: float) -> None:
    console.print(f"   {camera} sends video; waiting for a key frame, at most {limit_s:g} s", highlight=False)


def _rate(report: "CameraReport") -> str:
    return f"{report.rate:.1f}" if report.assumed_fps is None else f"{report.assumed_fps:.1f}, no timestamps"


def _check_redis(console: "Console", settings: "Settings") -> "BrokerError | None":
    """Connect to Redis and print what was found; return why it cannot be used."""
    from reid_stream.errors import BrokerError
    from reid_stream.publish import redis_client

    if settings.redis.is_embedded:
        console.print("[green]ok[/] redis: embedded", highlight=False)
        return None
    url = settings.redis.url.get_secret_value()
    try:
        with redis_client.connect(settings.redis) as client:
            version = redis_client.check(client, url)
            policy = redis_client.eviction(client, url)
    except BrokerError as error:
        console.print(f"[red]--[/] redis: {error}", highlight=False)
        return error
    console.print(f"[green]ok[/] redis {version} at {redis_client.public(url)}", highlight=False)
    if policy is not None:
        advice = "may delete events and state when memory is short; set noeviction"
        console.print(f"[yellow]!![/] redis: maxmemory-policy {policy} {advice}", highlight=False)
    if settings.redis.tls == "unverified":
        console.print("[yellow]!![/] redis: tls is unverified, any certificate is accepted", highlight=False)
    return None


def _tell_networks(console: "Console", settings: "Settings") -> None:
    """Load both networks and say what runs them."""
    from reid_stream.engines.hot_swap import SwapEngine
    from reid_stream.runtime.networks import load_networks

    networks = load_networks(settings)
    for engine, bundle in (
        (networks.detector_engine, networks.detector),
        (networks.embedder_engine, networks.embedder),
    ):
        console.print(
            f"[green]ok[/] {bundle.kind} {bundle.name} {bundle.hash[:12]}, {engine.name}, licence: {bundle.licence}",
            highlight=False,
        )
        if isinstance(engine, SwapEngine):
            console.print(f"   {engine.note}; `reid-stream compile` builds it now", highlight=False)
