"""Read the tracks of a store as arrays, and label files for them.

Letters: t tracks, d embedding dimensions.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from reid_stream import store
from reid_stream.embed.preprocess import InputSpec, resize
from trainer.data.crops import Images, StoredCrop, assemble, decode
from trainer.errors import DataError
from trainer.evaluate.embedding import embed
from trainer.evaluate.retrieval import Doubles, Floats, Ints
from trainer.model.siamese import LoadedBranch
from trainer.progress import reported
from trainer.site.pseudo_labels import side_by_side

_CROPS = 8
"""Best crops of a track that make its vector."""


@dataclass(frozen=True, slots=True, eq=False)
class SiteTracks:
    """The tracks of a store."""

    folder: Path
    names: tuple[str, ...]
    """(t,) folder of each track within the store."""
    tracks: tuple[store.StoredTrack, ...]
    """(t,)"""
    crops: tuple[tuple[Path, ...], ...]
    """(t,) files of each track."""
    cameras: Ints
    """(t,) numbers."""
    spans: Doubles
    """(t, 2) when each track was first and last seen, UTC seconds."""
    apart: list[tuple[int, int]]
    """Tracks seen side by side on one camera."""


class LabelsFile(msgspec.Struct, frozen=True):
    """Labels of the tracks of a store, for a run to learn from: `labelled:FILE`."""

    store: str
    tracks: dict[str, str]
    """Folder of a track within the store -> person."""
    held_out: list[str]
    """Persons that are validated on, never learned."""


def read_site(
    folder: Path,
    most: int | None = None,
    names: Sequence[str] | None = None,
    reviewed: frozenset[str] = frozenset(),
) -> SiteTracks:
    """Read the tracks of a store, without decoding an image.

    Args:
        folder: the tracklet store.
        most: the latest ones, at most this many; none for all.
        names: folders of the tracks within the store; none for all.
        reviewed: global IDs whose tracks are taken before later ones of others.

    Raises:
        DataError: there is no track, one is broken, or a named one is missing.
    """
    if names is not None and (gone := [name for name in names if not (folder / name / store.TRACK_FILE).is_file()]):
        raise DataError(
            f"the {len(names)} tracks that the run started with must be in the store, {len(gone)} are no longer in "
            f"{folder}, {gone[0]} among them; take a new --out, or a store with a longer retention"
        )
    found = []
    for place in store.tracks(folder) if names is None else (folder / name for name in names):
        try:
            track, files = store.read(place)
        except ValueError as error:
            raise DataError(str(error)) from error
        if files:
            found.append(
                (
                    (str(track.global_id) in reviewed, track.times[-1]),
                    str(place.relative_to(folder)),
                    track,
                    tuple(files),
                )
            )
    if most is not None and len(found) > most:
        found = sorted(sorted(found, key=lambda each: each[:2])[-most:], key=lambda each: each[1])
    if not found:
        raise DataError(f"a tracklet store must hold <camera>/<day>/<run>-<track>/track.json, {folder} holds none")
    _, names, tracks, crops = zip(*found, strict=True)
    cameras = np.unique([track.camera for track in tracks], return_inverse=True)[1].astype(np.int64)
    spans = np.asarray([(track.times[0], track.times[-1]) for track in tracks])
    apart = side_by_side([str(track.camera) for track in tracks], [track.times for track in tracks])
    return SiteTracks(folder, names, tracks, crops, cameras, spans, apart)


def track_vectors(
    site: SiteTracks, loaded: LoadedBranch, rows: Sequence[int], log: Callable[[str], None] | None = None
) -> Floats:
    """Return unit vectors (len(rows), d): of each track the mean of its best crops'; `log` is given the progress."""
    spec, means = loaded.spec, []
    for row in reported(rows, "tracks embedded", log):
        best = np.sort(np.argsort(-np.asarray(site.tracks[row].qualities), kind="stable")[:_CROPS])
        pictures = [site.crops[row][place] for place in best]
        pixels = np.stack([resize(decode(path.read_bytes(), str(path)), spec.height, spec.width) for path in pictures])
        mean = embed(loaded.branch, pixels, spec, flip=False).mean(axis=0)
        means.append(mean / max(float(np.linalg.norm(mean)), 1e-12))
    return np.asarray(means, dtype=np.float32).reshape(len(rows), -1)


def pictures(site: SiteTracks, who: Mapping[int, str], spec: InputSpec) -> Images:
    """Return the crops of some tracks, by person; `who`: track -> person."""
    return assemble(_crops(site, who), spec.height, spec.width)


def labels_file(path: Path, site: SiteTracks, who: Mapping[int, str], held_out: list[str]) -> None:
    """Write labels for `labelled:FILE`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = LabelsFile(str(site.folder.resolve()), {site.names[row]: who[row] for row in sorted(who)}, held_out)
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1))
    part.replace(path)


def read_labels(path: Path) -> LabelsFile:
    """Read a file of labels.

    Raises:
        DataError: it cannot be read, or is no such file.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=LabelsFile)
    except OSError as error:
        raise DataError(f"labelled:FILE must be readable, {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise DataError(f"labelled:FILE must hold store, tracks and held_out, {path}: {error}") from error


def read_labelled(path: Path) -> Iterator[StoredCrop]:
    """Read the crops of a store's tracks that a file gives a person."""
    labels = read_labels(path)
    site = read_site(Path(labels.store))
    row = {name: place for place, name in enumerate(site.names)}
    if missing := sorted(set(labels.tracks) - set(row)):
        raise DataError(f"the tracks of {path} must be in the store, {missing[0]} is not in {site.folder}")
    yield from _crops(site, {row[name]: person for name, person in labels.tracks.items()})


def _crops(site: SiteTracks, who: Mapping[int, str]) -> Iterator[StoredCrop]:
    for row, person in sorted(who.items()):
        for file in site.crops[row]:
            name = f"{site.names[row]}/{file.name}"
            yield StoredCrop(name, person, str(site.tracks[row].camera), f"site:{site.folder.name}", file.read_bytes())
