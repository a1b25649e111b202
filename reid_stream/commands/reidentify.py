"""`reid-stream reidentify`: match a tracklet store again, with another model or other settings."""

from pathlib import Path
from typing import Annotated

import typer


def reidentify(
    store: Annotated[Path, typer.Argument(help="The tracklet store, `store.folder` of cams.yaml.")],
    cameras: Annotated[Path | None, typer.Option(help="cams.yaml, for match, topology and models.")] = None,
    embedder: Annotated[
        str | None, typer.Option(help="Another embedder: folder or name of a bundle, or `default`.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the identity of each track to this file.")] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the new global IDs into the tracks of the store.")
    ] = False,
) -> None:
    """Match a tracklet store again offline and print what changes."""
    import msgspec

    from reid_stream.config import cams_yaml
    from reid_stream.config.settings import Embed, Match, Models
    from reid_stream.console.output import Output, count, progress
    from reid_stream.offline.rematch import agreement, write_back
    from reid_stream.offline.rematch import reidentify as replay
    from reid_stream.runtime.networks import load_embedder

    settings = cams_yaml.load(cameras) if cameras is not None else None
    models = settings.models if settings is not None else Models()
    if embedder is not None:
        models = models.model_copy(update={"embedder": embedder})
    bundle, embed, _ = load_embedder(models, settings.embed if settings is not None else Embed())
    with progress("tracks") as bar:
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
    out = Output()
    out.say(
        f"{count(len(after), 'track')}, {count(found.crops, 'crop')} ({found.embedded} embedded by {bundle.name}) in "
        f"{found.seconds:.1f} s: {found.span_s / found.seconds:.0f} times real time"
    )
    out.say(f"{count(are, 'person', 'people')}, {were} in the store before")
    out.say(
        f"of the pairs of tracks that are one person now, {precision:.1%} were before; of those before, {recall:.1%} "
        "still are"
    )
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    if write:
        out.say(f"{count(write_back(store, found), 'track has', 'tracks have')} another global ID now")
