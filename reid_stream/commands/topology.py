"""`reid-stream topology`: overlaps of cameras and passages between them, as a table and a drawing."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid_stream.commands.reach import CamerasOption, SiteAddress, SiteOption, UrlOption, reach

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from reid_stream.console.output import Output
    from reid_stream.match.topology import Passage, Topology

_STRAIGHT = 0.12
"""Bend of the arrows, which keeps the two directions between two cameras apart."""
_OVERLAP = 0.3
"""Share of matches at once from which two cameras are drawn as overlapping."""


def topology(
    cameras: CamerasOption = None,
    url: UrlOption = None,
    site: SiteOption = None,
    recording: Annotated[
        Path | None, typer.Option(help="Recording of `eval --keep`, matched again to learn from it.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it to this file (.png, .svg; extra eval).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
) -> None:
    """Show which cameras overlap, where people go from each, and how long it takes, as learned by the matcher."""
    from reid_stream.console.output import Output, write_json
    from reid_stream.errors import ConfigError

    if recording is not None and (cameras is not None or site is not None):
        raise ConfigError("topology must be given a site (--cameras, or --url and --site) or --recording, found both")
    if plot is not None and plot.suffix not in (".png", ".svg"):
        raise ConfigError(f"--plot must name a .png or .svg file, found {plot.name!r}")
    known = _from_redis(reach(cameras, url, site)) if recording is None else _from_recording(recording)
    passages = known.passages()
    if as_json:
        write_json(passages)
    else:
        _print(passages, known, Output())
    if plot is not None:
        draw(passages, [str(camera) for camera in known.cameras()], plot)


def _from_redis(at: SiteAddress) -> "Topology":
    import msgspec

    from reid_stream.config.settings import Redis
    from reid_stream.config.settings import TopologySettings as Settings
    from reid_stream.errors import DECODE_ERRORS, ConfigError
    from reid_stream.match.topology import Topology, TopologyState
    from reid_stream.publish.latest_value import topology_key
    from reid_stream.publish.redis_client import connect, public, translated

    client = connect(at.login or Redis(), url=at.url)
    try:
        with translated(at.url):
            found = client.get(topology_key(at.site))
    finally:
        client.close()
    if not isinstance(found, bytes):
        raise ConfigError(
            f"{topology_key(at.site)} must exist, found nothing at {public(at.url)}; is `site` right, and has a person "
            "been recognised on a second camera yet?"
        )
    known = Topology(Settings())
    try:
        known.restore(msgspec.json.decode(found, type=TopologyState))
    except DECODE_ERRORS as error:
        raise ConfigError(f"{topology_key(at.site)} must be a topology of this version: {error}") from error
    return known


def _from_recording(file: Path) -> "Topology":
    from reid_stream.config.settings import Match
    from reid_stream.evaluation.recording import load
    from reid_stream.match.factory import matcher_for

    kept = load(file)
    matcher = matcher_for(Match(), kept.embedder, "site", cameras=list(kept.cameras))
    for batch in kept.batches:
        matcher.update(batch.records, batch.now)
    return matcher.topology


def _print(passages: "list[Passage]", known: "Topology", out: "Output") -> None:
    from reid_stream.console.output import Rows, count

    table = Rows("from", "to", "people", "share", "at once", "seconds between", right=("people", "share", "at once"))
    for passage in passages:
        low, middle, high = passage.times_s
        table.add_row(
            passage.a,
            passage.b,
            f"{passage.matches:.0f}",
            f"{passage.share:.0%}",
            f"{passage.at_once:.0%}",
            "" if passage.at_once >= 1 else f"{middle:.0f} ({low:.0f} to {high:.0f})",
        )
    out.print(table)
    matches = sum(passage.matches for passage in passages)
    out.say(
        f"{count(len(known.cameras()), 'camera')}, {count(round(matches), 'match', 'matches')}. people: recognised "
        "with certainty, older ones count less; share: of those who leave `from`; at once: on both cameras together; "
        "seconds: median, and the range from a tenth to nine tenths of them",
        style="dim",
    )


def draw(passages: "list[Passage]", cameras: list[str], file: Path) -> None:
    """Draw cameras on a circle and an arrow for each passage, as wide as it is frequent; dashed where views overlap."""
    import numpy as np

    from reid_stream.console.plotting import figure_type

    angles = np.pi / 2 - 2 * np.pi * np.arange(len(cameras)) / max(1, len(cameras))
    place = {name: (float(np.cos(at)), float(np.sin(at))) for name, at in zip(cameras, angles, strict=True)}
    side = 5 + 0.25 * len(cameras)
    figure = figure_type()(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    most = max((passage.matches for passage in passages), default=1.0)
    for passage in passages:
        if passage.a != passage.b:
            _arrow(axes, passage, place, most)
    for name, (x, y) in place.items():
        axes.text(
            x, y, name, ha="center", va="center", fontsize=11, color="white", zorder=3,
            bbox={"boxstyle": "round,pad=0.5", "facecolor": "#1f2d3d", "edgecolor": "none"},
        )  # fmt: skip
    axes.set(xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), aspect="equal")
    axes.axis("off")
    axes.set_title(
        "Passages between cameras: people recognised with certainty, median seconds; dashed: at once", fontsize=10
    )
    figure.savefig(file, dpi=150)


def _arrow(axes: "Axes", passage: "Passage", place: dict[str, tuple[float, float]], most: float) -> None:
    from matplotlib.patches import FancyArrowPatch

    (x1, y1), (x2, y2) = place[passage.a], place[passage.b]
    weight = passage.matches / most
    overlaps = passage.at_once >= _OVERLAP
    colour = "#c0392b" if overlaps else "#2c7fb8"
    axes.add_patch(
        FancyArrowPatch(
            (x1, y1), (x2, y2), connectionstyle=f"arc3,rad={_STRAIGHT}", shrinkA=26, shrinkB=26, mutation_scale=14,
            arrowstyle="<->" if overlaps else "-|>", linestyle="--" if overlaps else "-",
            linewidth=0.6 + 4 * weight, color=colour, alpha=0.35 + 0.6 * weight,
        )
    )  # fmt: skip
    words = f"{passage.matches:.0f}" + ("" if overlaps else f", {passage.times_s[1]:.0f} s")
    # A third of the way, on the outer side of the bend: labels of crossing arrows do not collide there.
    across, along = (y2 - y1) * _STRAIGHT * 0.5, (x1 - x2) * _STRAIGHT * 0.5
    axes.text(
        x1 + (x2 - x1) * 0.36 + across, y1 + (y2 - y1) * 0.36 + along, words, fontsize=7, color=colour,
        ha="center", va="center", zorder=2,
        bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"},
    )  # fmt: skip
