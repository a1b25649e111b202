"""A site teaches its own network: store -> who is probably who -> a short fine-tune -> the gate.

    tracks ─▶ embed with the network so far ─▶ cluster ─▶ learn ─▶ … rounds … ─▶ better on held-out people? ─▶ keep

Half of the reviewed identities are labels, half are held out for the gate. Without reviewed ones, a fifth of the
clusters that the base network is surest of is held out: that measures agreement with the base, no truth, and the report
says so.

Sources: the loop: SpCL (arXiv 2006.02713) and Cluster Contrast (arXiv 2103.11568); tracklets as must-links and gated
promotion: this project.
"""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from trainer.config import TrainSettings, load
from trainer.errors import DataError, TrainerError
from trainer.pseudo import NOBODY, cluster
from trainer.retrieval import detection_rate, score, squared_distances
from trainer.siamese import LoadedBranch, load_branch
from trainer.site_data import Site, labels_file, pictures, read_site, track_vectors
from trainer.test_sets import TestSet, one_each
from trainer.train import train

REPORT = "site.json"
RECIPE = Path(__file__).parent / "recipes" / "site.yaml"
_SURE = 0.3
"""DBSCAN's reach for the clusters that stand in for reviewed people."""
_HELD_SHARE = 0.2
_FALSE_ALARMS = 0.01


class Gate(msgspec.Struct, frozen=True):
    """How well held-out people are found, before and after."""

    truth: str
    """What the held-out people are."""
    people: int
    images: int
    before: dict[str, float]
    after: dict[str, float]

    @property
    def is_open(self) -> bool:
        """Better at ranking, and no worse at telling strangers."""
        return self.after["mAP"] > self.before["mAP"] and self.after["DIR@1%FAR"] >= self.before["DIR@1%FAR"]


class Round(msgspec.Struct, frozen=True):
    """One round of clustering and learning."""

    people: int
    """Clusters."""
    tracks: int
    """In clusters."""
    images: int
    minutes: float


class Outcome(msgspec.Struct, frozen=True):
    """What a site's run came to."""

    gate: Gate
    rounds: list[Round]
    best: str
    """Checkpoint to export; the base where the gate stayed shut."""
    reviewed: int
    """Identities that somebody had reviewed, labels and held out together."""


def fit_site(
    settings: TrainSettings,
    folder: Path,
    base: Path,
    out: Path,
    reviewed: frozenset[str] = frozenset(),
    rounds: int = 3,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Teach the network of checkpoint `base` the people of the store `folder`.

    Args:
        settings: of each round; data and model.weights are set here.
        folder: the tracklet store.
        base: a checkpoint, or a bundle with one in it.
        out: folder of the run.
        reviewed: global IDs that somebody has looked at and found right.
        rounds: of clustering and learning.
        say: told what happens, a line each.

    Raises:
        TrainerError: too few tracks or people, a reviewed ID that the store does not know, or a run there already.
    """
    if (out / REPORT).exists():
        raise TrainerError(f"--out must be a new folder, {out / REPORT} exists")
    site = read_site(folder)
    loaded = load_branch(base)
    labels, held, truth = _hold_out(site, loaded, reviewed, settings.run.seed)
    say(f"{len(site.names)} tracks of {len(set(site.cameras.tolist()))} cameras; held out: {len(held)} people, {truth}")
    who = {row: name for name, rows in held.items() for row in rows}
    judged = one_each("held-out people", pictures(site, who, loaded.spec))
    before, reached = measure(loaded, judged), base
    told: list[Round] = []
    free = sorted(set(range(len(site.names))) - {row for rows in held.values() for row in rows})
    place = {row: index for index, row in enumerate(free)}
    for number in range(1, rounds + 1):
        found = cluster(
            track_vectors(site, loaded, free),
            site.cameras[free],
            _within(site.apart, place),
            {place[row]: name for row, name in labels.items()},
        )
        named = {free[place]: f"cluster-{label}" for place, label in enumerate(found.tolist()) if label != NOBODY}
        count = len(set(named.values()))
        say(f"round {number}: {count} people in {len(named)} of {len(free)} tracks")
        if count < settings.sampler.persons:
            raise TrainerError(
                f"a round needs at least sampler.persons ({settings.sampler.persons}) people to learn from, the "
                f"{len(free)} tracks of {site.folder} make {count}; collect more, or lower sampler.persons"
            )
        path = out / f"round-{number}.labels.json"
        labels_file(path, site, named | who, sorted(held))
        report = train(_settings(settings, path, reached, len(held)), out / f"round-{number}")
        # The last weights, not those that did best on the held-out people: the gate must not have chosen them.
        reached = out / f"round-{number}" / "last.pt"
        loaded = load_branch(reached)
        told.append(
            Round(
                people=count,
                tracks=len(named),
                images=int(report["images"]),
                minutes=float(report["wall_seconds"]) / 60,
            )
        )
    after = measure(loaded, judged)
    gate = Gate(truth=truth, people=len(held), images=len(judged.images), before=before, after=after)
    outcome = Outcome(gate, told, str(reached if gate.is_open else base), len(reviewed))
    (out / REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(outcome), indent=2) + b"\n")
    for name, value in after.items():
        say(f"{name} on held-out people: {before[name]:.3f} -> {value:.3f}")
    say(f"export {outcome.best}" if gate.is_open else "no better on held-out people: the base stays")
    return outcome


def recipe_settings(base: Path, changes: tuple[str, ...] = ()) -> TrainSettings:
    """Return the recipe with the network and the input size of its base."""
    recipe, own = load(RECIPE, changes), load_branch(base).settings
    size = {"height": own.data.height, "width": own.data.width}
    return recipe.model_copy(update={"model": own.model, "data": recipe.data.model_copy(update=size)})


def read_reviewed(file: Path) -> frozenset[str]:
    """Read global IDs, one a line.

    Raises:
        DataError: the file cannot be read, or names none.
    """
    try:
        names = frozenset(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--reviewed must be a readable text file, {file}: {error}") from error
    if not names:
        raise DataError(f"--reviewed must name global IDs, one a line, {file} names none")
    return names


def measure(loaded: LoadedBranch, judged: TestSet) -> dict[str, float]:
    """Return Rank-1, mAP and the detection rate at 1 % false alarms on held-out people."""
    from trainer.embedding import embed

    vectors = embed(loaded.branch, judged.images.pixels, loaded.spec)
    found = score(squared_distances(vectors[judged.query], vectors[judged.gallery]), judged.labels)
    return {
        "Rank-1": float(found.cmc[0]),
        "mAP": found.mean_ap,
        "DIR@1%FAR": detection_rate(found, _FALSE_ALARMS)[0],
    }


def _hold_out(
    site: Site, loaded: LoadedBranch, reviewed: frozenset[str], seed: int
) -> tuple[dict[int, str], dict[str, list[int]], str]:
    """Return the labels (track -> name), the held-out people (name -> tracks), and what these are."""
    random = np.random.default_rng(seed)
    if reviewed:
        known: dict[str, list[int]] = defaultdict(list)
        for row, track in enumerate(site.tracks):
            if track.global_id in reviewed:
                known[str(track.global_id)].append(row)
        if missing := sorted(reviewed - set(known)):
            raise DataError(
                f"reviewed identities must be in the store, {', '.join(missing[:5])} are not in {site.folder}"
            )
        truth = "reviewed"
    else:
        every = list(range(len(site.tracks)))
        sure = cluster(track_vectors(site, loaded, every), site.cameras, site.apart, {}, _SURE).tolist()
        known = defaultdict(list)
        for row, label in enumerate(sure):
            if label != NOBODY:
                known[f"sure-{label}"].append(row)
        truth = "clusters that the base network is surest of, no truth"
    crossing = sorted(name for name, rows in known.items() if len(set(site.cameras[rows].tolist())) > 1)
    share = 0.5 if reviewed else _HELD_SHARE
    count = round(share * len(crossing))
    if count < 2:
        raise DataError(
            f"the gate needs at least 2 people seen by several cameras that can be held out, found {count} of "
            f"{len(crossing)} ({truth}); collect more tracks, or review more identities"
        )
    held = {str(name) for name in random.choice(crossing, count, replace=False)}
    labels = {row: name for name, rows in known.items() if reviewed and name not in held for row in rows}
    return labels, {name: rows for name, rows in known.items() if name in held}, truth


def _within(apart: list[tuple[int, int]], place: dict[int, int]) -> list[tuple[int, int]]:
    return [(place[first], place[second]) for first, second in apart if first in place and second in place]


def _settings(settings: TrainSettings, labels: Path, start: Path, held: int) -> TrainSettings:
    data = settings.data.model_copy(update={"sets": (f"labelled:{labels}",), "validation_ids": held})
    return settings.model_copy(update={"data": data, "model": settings.model.model_copy(update={"weights": start})})
