"""Choose the held-out people of a site, and compare two networks on them.

Held-out people are the queries; they and tracks of strangers, which are not learned from either, are the gallery. So
ten reviewed people are ranked among a hundred others, and verification is measured on thousands of pairs as the daemon
does it: by the verification head, with each camera's mean subtracted.

Letters: n images, d embedding dimensions.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from trainer.data.crops import Images
from trainer.errors import DataError
from trainer.evaluate.network import folded, folded_verifier
from trainer.evaluate.retrieval import (
    Bools,
    Floats,
    RetrievalLabels,
    pair_distances,
    score,
    squared_distances,
    true_positive_rate,
)
from trainer.model.siamese import LoadedBranch
from trainer.site.data import SiteTracks, pictures, track_vectors
from trainer.site.pseudo_labels import UNLINKED, centred, cluster

_SURE = 0.15
"""Margin of the links that replace reviewed people: of the pairs joined so 99 % were right on two cameras, 85 % on
six (trainer/site/pseudo_labels.py)."""
_HELD_SHARE = 0.2
_REVIEWED_SHARE = 0.5
_MOST_HELD = 60
"""People held out at most; further ones are learned from."""
_STRANGERS = 0.5
"""Share of the tracks that the base network links with no other, which give no labels at first."""
_FALSE_MATCHES = 1e-3
_STRANGER = "stranger-"


class Gate(msgspec.Struct, frozen=True):
    """Figures on the held-out people, before and after."""

    truth: str
    """Kind of the held-out people, in words."""
    people: int
    strangers: int
    """Tracks among which they are to be found, too."""
    images: int
    before: dict[str, float]
    after: dict[str, float]

    @property
    def is_open(self) -> bool:
        """Better ranking, and no worse separation of strangers."""
        separation = f"TPR@FPR{_FALSE_MATCHES:g}"
        return self.after["mAP"] > self.before["mAP"] and self.after[separation] >= self.before[separation]


@dataclass(frozen=True, slots=True)
class Held:
    """Labelled tracks, and those that are not learned from."""

    labels: dict[int, str]
    """Track -> person, of the reviewed people that are learned from."""
    people: dict[str, list[int]]
    """Held-out people -> their tracks."""
    strangers: list[int]
    truth: str
    """Kind of the held-out people, in words."""

    @property
    def rows(self) -> set[int]:
        """Tracks that are not learned from."""
        return {row for rows in self.people.values() for row in rows} | set(self.strangers)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The images on which networks are compared."""

    images: Images
    is_held: Bools
    """(n,) of a held-out person; the others are strangers."""

    @property
    def known(self) -> Bools:
        """Return which persons (p,) are held-out people, not strangers' tracks."""
        known = np.zeros(len(self.images.person_names), dtype=bool)
        known[self.images.persons[self.is_held]] = True
        return known


def hold_out(
    site: SiteTracks,
    loaded: LoadedBranch,
    reviewed: frozenset[str],
    seed: int,
    log: Callable[[str], None] | None = None,
) -> Held:
    """Choose the held-out people: half of the reviewed people, or else a fifth of the surest clusters.

    Raises:
        DataError: the store does not know a reviewed person, or there are too few people to judge by.
    """
    random = np.random.default_rng(seed)
    vectors = track_vectors(site, loaded, range(len(site.names)), log)
    known = _reviewed(site, reviewed) if reviewed else _sure(site, vectors)
    truth = "reviewed" if reviewed else "clusters that the base network is surest of, no truth"
    crossing = sorted(name for name, rows in known.items() if len(set(site.cameras[rows].tolist())) > 1)
    count = min(_MOST_HELD, round((_REVIEWED_SHARE if reviewed else _HELD_SHARE) * len(crossing)))
    if count < 2:
        raise DataError(
            f"the gate needs at least 2 people seen by several cameras that can be held out, found {count} of "
            f"{len(crossing)} ({truth}); collect more tracks, or review more identities"
        )
    chosen = {str(name) for name in random.choice(crossing, count, replace=False)}
    named = {row: name for name, rows in known.items() for row in rows}
    found = cluster(vectors, site.cameras, site.spans, site.apart, named if reviewed else {})
    alone = [row for row in np.flatnonzero(found == UNLINKED).tolist() if row not in named]
    strangers = sorted(random.choice(alone, round(_STRANGERS * len(alone)), replace=False).tolist())
    return Held(
        labels={row: name for row, name in named.items() if reviewed and name not in chosen},
        people={name: rows for name, rows in known.items() if name in chosen},
        strangers=strangers,
        truth=truth,
    )


def read_judged(site: SiteTracks, held: Held, loaded: LoadedBranch) -> Judged:
    """Read the images of held-out people and of strangers."""
    who = {row: f"{_STRANGER}{row}" for row in held.strangers}
    who |= {row: name for name, rows in held.people.items() for row in rows}
    images = pictures(site, who, loaded.spec)
    names = {f"{domain}:{name}" for domain in images.domain_names for name in held.people}
    return Judged(images, np.asarray([name in names for name in images.person_names])[images.persons])


def measure(loaded: LoadedBranch, judged: Judged) -> dict[str, float]:
    """Return Rank-1, mAP and the share of true pairs found at a false match in a thousand."""
    from trainer.evaluate.embedding import embed

    return figures(loaded, embed(loaded.branch, judged.images.pixels, loaded.spec, flip=False), judged)


def figures(loaded: LoadedBranch, vectors: Floats, judged: Judged) -> dict[str, float]:
    """Return what `measure` does, of vectors (n, d)."""
    persons, cameras = judged.images.persons, judged.images.cameras
    head = loaded.verifier
    verifier = folded_verifier(head.v.detach().numpy(), float(head.b.detach()), loaded.train_prior)
    metric = folded(centred(vectors, cameras), verifier)
    keys = np.where(judged.is_held, persons * (cameras.max() + 1) + cameras, -1)
    asks = np.unique(keys, return_index=True)[1][(np.unique(keys) < 0).sum() :]
    labels = RetrievalLabels(persons[asks], cameras[asks], persons, cameras)
    found = score(squared_distances(metric[asks], metric), labels)
    rows = np.flatnonzero(judged.is_held)
    pairs = RetrievalLabels(persons[rows], cameras[rows], persons, cameras)
    same, other = pair_distances(squared_distances(metric[rows], metric), pairs)
    return {
        "Rank-1": float(found.cmc[0]),
        "mAP": found.mean_ap,
        f"TPR@FPR{_FALSE_MATCHES:g}": true_positive_rate(-same, -other, _FALSE_MATCHES),
    }


def _reviewed(site: SiteTracks, reviewed: frozenset[str]) -> Mapping[str, list[int]]:
    known: dict[str, list[int]] = defaultdict(list)
    for row, track in enumerate(site.tracks):
        if track.global_id in reviewed:
            known[str(track.global_id)].append(row)
    if missing := sorted(reviewed - set(known)):
        raise DataError(f"reviewed identities must be in the store, {', '.join(missing[:5])} are not in {site.folder}")
    return known


def _sure(site: SiteTracks, vectors: Floats) -> Mapping[str, list[int]]:
    known: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(cluster(vectors, site.cameras, site.spans, site.apart, {}, _SURE).tolist()):
        if label != UNLINKED:
            known[f"sure-{label}"].append(row)
    return known
