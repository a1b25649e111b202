"""Appearance vectors of simulated people: real crops, several per person and camera.

    crops -> the bundle's network, once -> Looks (kept on disk, named by bundle and crops) -> cast for a world

Where a world needs more people than the crops show, others are made (`made`) whose persons and whose variation have the
statistics of the real ones. Look-alikes have vectors moved towards another person's.

Letters: n crops, p persons, v cameras of the data set ("views"), d dimensions.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.simulator.crops import PersonCrop
from reid_stream.errors import ConfigError
from reid_stream.records import Floats, Ints

Halves = npt.NDArray[np.float16]

_PERSON_DIM, _CROP_DIM = 14, 64
_DEVIATION, _VIEW = 0.9, 0.3
"""Lengths of what a crop and a view add to a person's unit vector."""


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """Vectors by person and view."""

    vectors: Halves
    """(n, d) unit vectors, sorted by person, then view; float16 as on the wire."""
    first: Ints
    """(p, v) row of the first vector of a person in a view."""
    count: Ints
    """(p, v) how many there are; 0 where that camera never took that person."""
    model: str
    """Hash of the bundle that made them."""

    def __len__(self) -> int:
        return len(self.first)

    @property
    def views(self) -> int:
        """Number of cameras of the data set."""
        return int(self.first.shape[1])

    def rows(self, person: int) -> slice:
        """Return the rows of a person, who has at least one."""
        return slice(int(self.first[person, 0]), int(self.first[person, -1] + self.count[person, -1]))


def looks_of(vectors: Floats | Halves, persons: Sequence[str], views: Sequence[str], model: str) -> Looks:
    """Sort vectors (n, d) by person and view, both taken in the order of their names."""
    who, person = np.unique(np.asarray(persons), return_inverse=True)
    where, view = np.unique(np.asarray(views), return_inverse=True)
    order = np.lexsort((view, person))
    return _sorted(
        vectors[order].astype(np.float16), person[order] * len(where) + view[order], (len(who), len(where)), model
    )


def read(crops: Sequence[PersonCrop], bundle_name: str, cache: Path, threads: int = 0) -> Looks:
    """Return a bundle's vectors of the crops; embedded once and kept in `cache`.

    Raises:
        ConfigError: a crop cannot be decoded.
        ModelError: the bundle is missing or broken.
    """
    from reid_stream.bundles import catalog

    folder, bundle = catalog.embedder(bundle_name)
    digest = hashlib.sha256(bundle.hash.encode())
    for crop in crops:
        digest.update(f"{crop.person} {crop.camera} ".encode() + hashlib.sha256(crop.data).digest())
    kept = cache / f"{digest.hexdigest()[:24]}.npy"
    if kept.is_file():
        vectors = np.load(kept)
    else:
        vectors = _embed(crops, folder, threads)
        cache.mkdir(parents=True, exist_ok=True)
        half = kept.with_suffix(".part.npy")
        np.save(half, vectors)
        half.replace(kept)
    return looks_of(vectors, [crop.person for crop in crops], [crop.camera for crop in crops], bundle.hash)


def cast(looks: Looks, people: int, look_alikes: float, likeness: float, rng: np.random.Generator) -> Looks:
    """Choose the people of a world.

    Args:
        looks: of all people.
        people: how many; those beyond the real ones are synthesized.
        look_alikes: share of them who look like another of them.
        likeness: how far, in [0, 1], a look-alike's vectors lie towards the other's mean.
        rng: source of all chance.
    """
    real = rng.permutation(len(looks))[:people]
    chosen = _of(looks, real)
    if people > len(real):
        chosen = _beside(chosen, made(looks, people - len(real), rng))
    alike = rng.permutation(len(chosen))[: round(look_alikes * len(chosen))]
    if len(alike) == 0 or len(chosen) < 2:
        return chosen
    vectors = chosen.vectors.copy()
    for person in alike:
        other = int((person + rng.integers(1, len(chosen))) % len(chosen))
        target = _unit(chosen.vectors[chosen.rows(other)].astype(np.float32).mean(axis=0))
        rows = chosen.rows(int(person))
        vectors[rows] = _unit(chosen.vectors[rows].astype(np.float32) * (1 - likeness) + target * likeness)
    return Looks(vectors, chosen.first, chosen.count, chosen.model)


def dressed_alike(looks: Looks, share: float, likeness: float, rng: np.random.Generator) -> Looks:
    """Put a share of people into one uniform: their vectors move towards the mean of one of them."""
    wearers = rng.permutation(len(looks))[: round(share * len(looks))]
    if len(wearers) < 2:
        return looks
    vectors = looks.vectors.copy()
    uniform = _unit(looks.vectors[looks.rows(int(wearers[0]))].astype(np.float32).mean(axis=0))
    for person in wearers[1:]:
        rows = looks.rows(int(person))
        vectors[rows] = _unit(looks.vectors[rows].astype(np.float32) * (1 - likeness) + uniform * likeness)
    return Looks(vectors, looks.first, looks.count, looks.model)


def made(looks: Looks, people: int, rng: np.random.Generator) -> Looks:
    """Synthesize people: a mean drawn from the real persons' covariance, around it the variation of a real one.

    With real means m_i of p persons around their mean M, M + sum_i g_i (m_i - M) / sqrt(p) with normal g_i has exactly
    their mean and covariance; the crops' deviations from the mean, camera changes included, are lent by one of them.
    """
    rows = [looks.vectors[looks.rows(person)].astype(np.float32) for person in range(len(looks))]
    means = np.stack([vectors.mean(axis=0) for vectors in rows])
    middle = means.mean(axis=0)
    drawn = rng.standard_normal((people, len(looks)), dtype=np.float32) @ (means - middle)
    drawn = middle + drawn / np.float32(np.sqrt(len(looks)))
    lenders = rng.integers(0, len(looks), people)
    vectors = [_unit(drawn[new] + rows[lender] - means[lender]) for new, lender in enumerate(lenders)]
    count = looks.count[lenders]
    return Looks(np.concatenate(vectors).astype(np.float16), _starts(count), count, looks.model)


def drawn(people: int, views: int, crops: int, dim: int, rng: np.random.Generator, model: str) -> Looks:
    """Synthesize people without any crops.

    The cosines are about those of Market-1501's test persons under the shipped bundle: of strangers 0 in the median and
    0.4 in the 99th percentile, of one person's crops 0.5 in the median (tested).
    """
    persons = _directions(people, _PERSON_DIM, dim, rng)
    views_of = np.float32(_VIEW) * _directions(views, dim, dim, rng)
    places = np.repeat(np.arange(people * views), crops)
    vectors = np.float32(_DEVIATION) * _directions(len(places), _CROP_DIM, dim, rng)
    vectors += persons[places // views] + views_of[places % views]
    count = np.full((people, views), crops, dtype=np.int64)
    return Looks(_unit(vectors).astype(np.float16), _starts(count), count, model)


def _directions(count: int, inner: int, dim: int, rng: np.random.Generator) -> Floats:
    """Return unit vectors (count, dim) that vary in `inner` dimensions only, as real ones vary in few."""
    inner = min(inner, dim)
    basis = np.linalg.qr(rng.standard_normal((dim, inner)))[0].astype(np.float32)
    return np.asarray(_unit(rng.standard_normal((count, inner), dtype=np.float32)) @ basis.T, dtype=np.float32)


def _embed(crops: Sequence[PersonCrop], folder: Path, threads: int) -> Halves:
    import cv2

    from reid_stream.bundles.bundle import MODEL_FILE, load_embedder
    from reid_stream.config.settings import Embed, Models
    from reid_stream.embed.embedder import Embedder, pixels_of, spec_of
    from reid_stream.engines.load import load_engine

    bundle = load_embedder(folder)
    spec = spec_of(bundle.input)
    engine = load_engine(
        folder / MODEL_FILE, Models(threads=threads), pixels=pixels_of(spec), size=(spec.height, spec.width)
    )
    pictures = []
    for number, crop in enumerate(crops):
        picture = cv2.imdecode(np.frombuffer(crop.data, np.uint8), cv2.IMREAD_COLOR) if crop.data else None
        if picture is None:
            raise ConfigError(
                f"every crop must be an image that can be decoded, number {number} (person {crop.person}, camera "
                f"{crop.camera}, {len(crop.data)} bytes) cannot"
            )
        pictures.append(np.asarray(picture[:, :, ::-1], dtype=np.uint8))
    return Embedder(engine, spec, bundle.dim, Embed())(pictures).astype(np.float16)


def _of(looks: Looks, persons: Ints) -> Looks:
    rows = [np.arange(looks.rows(int(person)).start, looks.rows(int(person)).stop) for person in persons]
    count = looks.count[persons]
    return Looks(looks.vectors[np.concatenate(rows)], _starts(count), count, looks.model)


def _beside(a: Looks, b: Looks) -> Looks:
    count = np.concatenate([a.count, b.count])
    return Looks(np.concatenate([a.vectors, b.vectors]), _starts(count), count, a.model)


def _sorted(vectors: Halves, cell: Ints, shape: tuple[int, int], model: str) -> Looks:
    count = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape).astype(np.int64)
    return Looks(vectors, _starts(count), count, model)


def _starts(count: Ints) -> Ints:
    flat = count.ravel()
    return np.asarray((np.cumsum(flat) - flat).reshape(count.shape), dtype=np.int64)


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)
