"""A site teaches its own network: store -> who is probably who -> a short fine-tune -> the gate -> a bundle.

    tracks ─▶ embed with the network so far ─▶ cluster ─▶ learn ─▶ … rounds … ─▶ better on held-out? ─▶ OUT/bundle

Half of the reviewed identities are labels, half are held out for the gate. Without reviewed ones, a fifth of the
clusters that the base network is surest of is held out: that measures agreement with the base and with the time people
take, no truth, and the report says so.

Sources: the loop: SpCL (arXiv 2006.02713) and Cluster Contrast (arXiv 2103.11568); tracklets as must-links and gated
promotion: this project.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch

from trainer.config import TrainSettings, load
from trainer.errors import DataError, TrainerError
from trainer.model.siamese import load_branch
from trainer.site.data import labels_file, read_site, track_vectors
from trainer.site.gate import Gate, hold_out, measure, read_judged
from trainer.site.pseudo_labels import NOBODY, cluster
from trainer.train.loop import train

REPORT, BUNDLE = "site.json", "bundle"
RECIPE = Path(__file__).parents[1] / "train" / "recipes" / "site.yaml"
MOST_TRACKS = 8000
"""The latest ones; comparing each with each takes a GB at so many."""


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
    """The network to go on with: the last checkpoint, or the base where the gate stayed shut."""
    bundle: str | None
    """Folder of the bundle that was made of it, calibrated on the site; none where the gate stayed shut."""
    reviewed: int
    """Identities that somebody had reviewed, labels and held out together."""
    minutes: float
    """All in all."""


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
    began = time.monotonic()
    if (out / REPORT).exists():
        raise TrainerError(f"--out must be a new folder, {out / REPORT} exists")
    threads = settings.run.threads or idle_cores()
    settings = settings.model_copy(update={"run": settings.run.model_copy(update={"threads": threads})})
    torch.set_num_threads(threads)
    say(f"{threads} CPU threads; --set run.threads=N for more or fewer")
    site = read_site(folder, MOST_TRACKS)
    loaded = load_branch(base)
    held = hold_out(site, loaded, reviewed, settings.run.seed)
    say(
        f"{len(site.names)} tracks of {len(set(site.cameras.tolist()))} cameras; held out: {len(held.people)} people, "
        f"{held.truth}, and {len(held.strangers)} strangers' tracks"
    )
    judged = read_judged(site, held, loaded)
    before, reached = measure(loaded, judged), base
    told: list[Round] = []
    free = sorted(set(range(len(site.names))) - held.rows)
    place = {row: index for index, row in enumerate(free)}
    apart = [(place[first], place[second]) for first, second in site.apart if first in place and second in place]
    who = {row: name for name, rows in held.people.items() for row in rows}
    for number in range(1, rounds + 1):
        found = cluster(
            track_vectors(site, loaded, free),
            site.cameras[free],
            site.spans[free],
            apart,
            {place[row]: name for row, name in held.labels.items()},
        )
        named = {free[index]: f"cluster-{label}" for index, label in enumerate(found.tolist()) if label != NOBODY}
        count = len(set(named.values()))
        say(f"round {number}: {count} people in {len(named)} of {len(free)} tracks")
        if count < settings.sampler.persons:
            raise TrainerError(
                f"a round needs at least sampler.persons ({settings.sampler.persons}) people to learn from, the "
                f"{len(free)} tracks of {site.folder} make {count}; collect more, or lower sampler.persons"
            )
        path = out / f"round-{number}.labels.json"
        labels_file(path, site, named | who, sorted(held.people))
        report = train(_settings(settings, path, reached, len(held.people)), out / f"round-{number}")
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
    gate = Gate(held.truth, len(held.people), len(held.strangers), len(judged.images), before, after)
    for name, value in after.items():
        say(f"{name} on held-out people: {before[name]:.3f} -> {value:.3f}")
    made = None
    if gate.is_open:
        from trainer.site.bundle import hand_on

        made = hand_on(reached, out / BUNDLE, judged, held.truth, say)
        say(f"better on held-out people: {made}; try it with `reid-stream models shadow {made} --store {folder}`")
    else:
        say("no better on held-out people: the base stays")
    outcome = Outcome(
        gate=gate,
        rounds=told,
        best=str(reached if gate.is_open else base),
        bundle=str(made) if made else None,
        reviewed=len(reviewed),
        minutes=(time.monotonic() - began) / 60,
    )
    (out / REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(outcome), indent=2) + b"\n")
    return outcome


def idle_cores() -> int:
    """Return how many CPU cores this process may use and others leave idle, by the load of the last minute; at least 1.

    A site trains beside its daemon: more threads than idle cores wait for each other at every operation.
    """
    return max(1, len(os.sched_getaffinity(0)) - round(os.getloadavg()[0]))


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


def _settings(settings: TrainSettings, labels: Path, start: Path, held: int) -> TrainSettings:
    data = settings.data.model_copy(update={"sets": (f"labelled:{labels}",), "validation_ids": held})
    return settings.model_copy(update={"data": data, "model": settings.model.model_copy(update={"weights": start})})
