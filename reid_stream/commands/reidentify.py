"""`reid-stream reidentify`: match a tracklet store again, with another model or other settings."""

from pathlib import Path
from typing import Annotated

import typer


def reidentify(
    store: Annotated[Path, typer.Argument(help="The tracklet store, `store.folder` of cams.yaml.")],
    cameras: Annotated[Path | None, typer.Option(help="cams.yaml, for match, topology and models.")] = None,
    embedder: Annotated[str | None, typer.Option(help="Another embedder bundle: a folder, or a name on the shelf.")] = (
        None
    ),
    json: Annotated[Path | None, typer.Option(help="Write who each track is there.")] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Name the store's tracks by who they were found to be.")
    ] = False,
) -> None:
    """Replay a tracklet store through embed and match, offline, and tell what changes."""
    import msgspec
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from reid_stream.config import cams_yaml
    from reid_stream.config.settings import Embed, Match, Models
    from reid_stream.offline.rematch import agreement, write_back
    from reid_stream.offline.rematch import reidentify as replay
    from reid_stream.runtime.networks import load_embedder

    settings = cams_yaml.load(cameras) if cameras is not None else None
    models = settings.models if settings is not None else Models()
    if embedder is not None:
        models = models.model_copy(update={"embedder": embedder})
    bundle, embed, _ = load_embedder(models, settings.embed if settings is not None else Embed())
    console = Console()
    columns = (TextColumn("tracks"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("tracks")
        found = replay(
            store,
            settings.match if settings is not None else Match(),
            bundle,
            embed,
            lambda done, of: bar.update(task, completed=done, total=of),
            settings.topology if settings is not None else None,
        )
    after = {name: person for name, (person, _) in found.people.items()}
    precision, recall = agreement(found.before, after)
    were, are = len(set(found.before.values()) - {None}), len(set(after.values()) - {None})
    console.print(
        f"{len(after)} tracks, {found.crops} crops ({found.embedded} embedded anew by {bundle.name}) in "
        f"{found.seconds:.1f} s: {found.span_s / found.seconds:.0f} times real time",
        highlight=False,
    )
    console.print(f"{are} people, where the store says {were}", highlight=False)
    console.print(
        f"of the pairs of tracks that are one person now, {precision:.1%} were; of those that were, {recall:.1%} are",
        highlight=False,
    )
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    if write:
        console.print(f"{write_back(store, found)} tracks have another name now", highlight=False)
