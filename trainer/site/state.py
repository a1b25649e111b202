"""Progress of a site's run on disk, so that a killed one resumes with the same tracks, held-out people and rounds.

The store keeps gaining and losing tracks while a site trains; a run keeps to the tracks that it started with.
"""

from pathlib import Path

import msgspec

from trainer.errors import CheckpointError, TrainerError
from trainer.site.gate import Held

STATE = "state.json"


class Round(msgspec.Struct, frozen=True):
    """One round of clustering and training."""

    people: int
    """Clusters."""
    tracks: int
    """Tracks in clusters."""
    images: int
    """Learned from."""
    minutes: float
    """Training time."""


class PendingRound(msgspec.Struct, frozen=True):
    """A round whose labels are written and whose training has started."""

    people: int
    """Clusters."""
    tracks: int
    """Tracks in clusters."""
    minutes: float | None
    """Time budget of its training; none without one."""


class SiteRunState(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions of a run that a resumed run must keep."""

    store: str
    """Absolute path."""
    base: str
    """The network to start from."""
    reviewed: list[str]
    """Reviewed global IDs, sorted."""
    rounds: int
    """To be made."""
    tracks: list[str]
    """Folders of the tracks within the store, in order."""
    held: Held
    """Rows of `tracks` that are labelled or held out."""
    before: dict[str, float]
    """Figures of the base on the held-out people."""
    done: list[Round] = []
    pending: PendingRound | None = None
    seconds: float = 0.0
    """Spent until this was written."""


def save(state: SiteRunState, out: Path) -> None:
    """Replace the state of a run's folder in one step.

    Raises:
        TrainerError: the folder cannot be written.
    """
    part = out / f"{STATE}.part"
    try:
        out.mkdir(parents=True, exist_ok=True)
        part.write_bytes(msgspec.json.encode(state))
        part.replace(out / STATE)
    except OSError as error:
        raise TrainerError(f"--out must be a folder that can be written, {out}: {error.strerror or error}") from error


def load(out: Path) -> SiteRunState:
    """Read the state of a run's folder.

    Raises:
        CheckpointError: there is none, or it is broken.
    """
    try:
        return msgspec.json.decode((out / STATE).read_bytes(), type=SiteRunState)
    except OSError as error:
        raise CheckpointError(
            f"--resume needs a site's run, {out / STATE}: {error.strerror or error}; without one start without --resume"
        ) from error
    except msgspec.DecodeError as error:
        raise CheckpointError(f"{out / STATE} must be the state of a site's run: {error}; take a new --out") from error


def must_match(
    saved: SiteRunState, *, store: Path, base: Path, reviewed: frozenset[str], rounds: int, out: Path
) -> None:
    """Raise CheckpointError where a run would be resumed with another store, base, reviewed people or rounds."""
    asked = {"--store": str(store.resolve()), "--bundle": str(base.resolve()), "--reviewed": sorted(reviewed)}
    found = {"--store": saved.store, "--bundle": saved.base, "--reviewed": saved.reviewed}
    changed = [name for name, value in asked.items() if value != found[name]]
    if rounds != saved.rounds:
        changed.append(f"--rounds {saved.rounds} -> {rounds}")
    if changed:
        raise CheckpointError(f"--resume needs the options of {out}, changed: {', '.join(changed)}; take a new --out")
