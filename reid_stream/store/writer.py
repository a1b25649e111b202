"""Write the crops of tracks into a store, on a separate thread: the pipeline never waits for a disk.

    crops and ends of tracks (perception), identities (identification) ─▶ queue ─▶ open tracks ─▶ STORE/<camera>/<day>/…

A track is written some seconds after its end, when its identity is settled; later corrections replace its track.json.
What cannot be kept, because the queue or the disk is full, is counted by cause and costs nothing else.
"""

import contextlib
import errno
import fcntl
import os
import queue
import shutil
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import cv2
import numpy as np
import structlog

from reid_stream.config.own_folder import open_own, require_own
from reid_stream.config.settings import Store as StoreSettings
from reid_stream.errors import ConfigError, InUseError
from reid_stream.images import UInt8
from reid_stream.records import (
    Box,
    ClockQuality,
    Crop,
    Decision,
    Erasing,
    GlobalId,
    Merge,
    Sighting,
    Split,
    TrackEnded,
)
from reid_stream.store.labels import Key, TrackLabels
from reid_stream.store.layout import NOW, PART, VECTORS_FILE, StoredTrack, now_file, read, write
from reid_stream.store.quota import StoreQuota

_QUEUE = 2048
"""Crops that wait for the disk; some seconds of a busy site."""
_NAMES = 10_000
"""Number of names beyond which those of tracks without a crop, or already written, are dropped."""
_IDLE_S = 60.0
"""Seconds after which a track without an end is written."""
_LOOK_S = 1.0
"""Interval of checks for tracks to write, seconds."""
_ERASE_LOOK_S = 0.02
_JPEG_QUALITY = 95
_FULL = (errno.ENOSPC, errno.EDQUOT)
_log = structlog.get_logger(__name__)


def encode_crop(image: UInt8) -> bytes:
    """Return an RGB crop (h, w, 3) as the JPEG that is stored."""
    picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()


@dataclass(frozen=True, slots=True)
class _Kept:
    at: float
    box: Box
    quality: float
    jpeg: bytes
    vector: bytes | None


@dataclass(slots=True)
class _Open:
    """A track that is still being collected."""

    clock: ClockQuality
    model: str
    updated_at: float
    """Monotonic seconds of its last record."""
    has_ended: bool = False
    crops: list[_Kept] = field(default_factory=list)
    shown: float = -1.0
    """Quality of the crop that is shown as its picture so far."""


@dataclass(frozen=True, slots=True)
class _Forgotten:
    """A person to erase, with their tracks that are not yet on disk."""

    decision: Erasing
    keys: set[Key]
    count: int = 0
    """Tracks that are gone already, where some could not be deleted yet."""


class StoreWriter:
    """One store, one writer; `take` and `decided` never wait for the disk."""

    def __init__(
        self,
        settings: StoreSettings,
        folder: Path,
        clock: Callable[[], float] = time.time,
        queue_size: int = _QUEUE,
        *,
        shows_now: bool = False,
    ) -> None:
        """Open the store, made if it is new; `clock` gives UTC seconds.

        `shows_now` keeps a picture of each track that is not written yet.

        Raises:
            ConfigError: the folder cannot be written, or another process writes it.
        """
        self._settings = settings
        self._folder = folder
        self._clock = clock
        self._lock = _lock(folder)
        shutil.rmtree(folder / PART, ignore_errors=True)
        shutil.rmtree(folder / NOW, ignore_errors=True)
        self._shows_now = shows_now
        self._room = StoreQuota(folder, round(settings.max_gb * 1e9), settings.retention_s)
        self._labels = TrackLabels()
        self._take_stock()
        self._named: dict[Key, tuple[GlobalId, int]] = {}
        self._queue: queue.Queue[Crop | TrackEnded | None] = queue.Queue(queue_size)
        self._corrections: deque[Merge | Split | _Forgotten] = deque()
        """Rare, must not be lost; appending never blocks."""
        self._erased: dict[str, int] = {}
        self._open: dict[Key, _Open] = {}
        self._is_failing = False
        self._closing = threading.Event()
        self.written = 0
        """Crops put on disk."""
        self.lost: Counter[str] = Counter()
        """Crops that could not be kept, by cause: busy, disk full, unwritable."""
        self._thread = threading.Thread(target=self._loop, name="store", daemon=True)
        self._thread.start()

    @property
    def used_bytes(self) -> int:
        """Size of all tracks on disk."""
        return self._room.used

    @property
    def removed(self) -> int:
        """Tracks removed for their age, or for room."""
        return self._room.removed

    def take(self, crops: Sequence[Crop], ended: Sequence[TrackEnded]) -> None:
        """Take in the crops of one step of perception, in time order per track, and the tracks that it ended."""
        for crop in crops:
            try:
                self._queue.put_nowait(crop)
            except queue.Full:
                self.lost["busy"] += 1
        for record in ended:
            with contextlib.suppress(queue.Full):  # the track is written when no record of it has come for a while
                self._queue.put_nowait(record)

    def decided(self, decisions: Sequence[Decision], _now: float = 0.0) -> None:
        """Take in identities; corrections also reach tracks on disk."""
        for decision in decisions:
            match decision:
                case Sighting():
                    seen = decision.observation
                    self._named[seen.camera, seen.run, seen.track] = (decision.person, decision.revision)
                case Merge():
                    for key in self._keys(decision.gone):
                        self._named[key] = (decision.into, decision.revision)
                    self._corrections.append(decision)
                case Split():
                    for key in decision.last_parts:
                        if key in self._named:
                            self._named[key] = (decision.into, decision.revision)
                    self._corrections.append(decision)
                case Erasing():
                    keys = self._keys(decision.person)
                    for key in keys:
                        self._named.pop(key, None)
                    self._corrections.append(_Forgotten(decision, keys))

    def _keys(self, person: GlobalId) -> set[Key]:
        """Return a person's tracks that are not yet on disk."""
        return {key for key, (name, _) in list(self._named.items()) if name == person}

    def erased(self, instruction: str, timeout_s: float) -> int | None:
        """Wait until a person is erased; return the number of tracks, None if it takes longer."""
        end = time.monotonic() + timeout_s
        while instruction not in self._erased and time.monotonic() < end:
            time.sleep(_ERASE_LOOK_S)
        return self._erased.get(instruction)

    def close(self, timeout_s: float = 30.0) -> None:
        """Write what is open and end the thread."""
        self._closing.set()
        with contextlib.suppress(queue.Full):  # then the thread is awake anyway
            self._queue.put_nowait(None)
        self._thread.join(timeout_s)
        self._lock.close()

    def _take_stock(self) -> None:
        for folder in self._room.open():
            try:
                self._labels.add(folder, read(folder)[0].global_id)
            except ValueError as error:
                _log.warning("stored_track_broken", folder=str(folder), reason=str(error))

    def _loop(self) -> None:
        while True:
            try:
                item = self._queue.get(timeout=_LOOK_S)
            except queue.Empty:
                item = None
            now = time.monotonic()
            is_closing = False
            try:
                self._take_in(item, now)
                item = None
                if not self._queue.empty():
                    continue
                is_closing = self._closing.is_set()
                if is_closing and not self._queue.empty():
                    continue  # it came before the store was closed
                self._correct()
                self._flush(np.inf if is_closing else now)
            except Exception as error:  # noqa: BLE001 (whatever it is, other tracks can be stored)
                self._fail(error, isinstance(item, Crop))
            if is_closing:
                return

    def _take_in(self, item: Crop | TrackEnded | None, now: float) -> None:
        match item:
            case Crop():
                self._collect(item, now)
            case TrackEnded():
                track = self._open.get((item.camera, item.run, item.track))
                if track is not None:
                    track.has_ended, track.updated_at = True, now

    def _correct(self) -> None:
        """Apply merges and splits to what is on disk; erase, or try again later what could not be deleted."""
        later: list[_Forgotten] = []
        while self._corrections:
            match self._corrections.popleft():
                case Merge() as merge:
                    self._labels.move(merge.gone, merge.into, merge.revision)
                case Split() as split:
                    self._labels.move(split.person, split.into, split.revision, set(split.last_parts))
                case _Forgotten() as forgotten:
                    count, is_done = self._erase(forgotten.decision.person, forgotten.keys)
                    if is_done:
                        self._erased[forgotten.decision.instruction] = forgotten.count + count
                    else:
                        later.append(replace(forgotten, count=forgotten.count + count))
        self._corrections.extend(later)

    def _erase(self, person: GlobalId, keys: set[Key]) -> tuple[int, bool]:
        """Drop a person's tracks, those being collected and those on disk.

        Return how many are gone, and whether all are: a disk may have become read-only.
        """
        count = sum(self._open.pop(key, None) is not None for key in keys)
        is_done = True
        for key in keys:
            shown = now_file(self._folder, *key)
            with contextlib.suppress(OSError):
                shown.unlink(missing_ok=True)
            is_done &= not os.path.lexists(shown)
        for folder in self._labels.of(person):
            if self._room.forget(folder):
                self._labels.forget(folder)
                count += 1
            else:
                is_done = False
        return count, is_done

    def _collect(self, crop: Crop, now: float) -> None:
        """Keep the best crops of a track, in time order."""
        key = (crop.camera, crop.run, crop.track)
        track = self._open.setdefault(key, _Open(crop.clock, crop.model, now))
        track.updated_at = now
        if len(track.crops) >= self._settings.crops_per_track:
            worst = min(track.crops, key=lambda kept: kept.quality)
            if worst.quality >= crop.quality:
                return
            track.crops.remove(worst)
        track.crops.append(_Kept(crop.at, crop.box, crop.quality, encode_crop(crop.image), crop.vector))

    def _flush(self, now: float) -> None:
        """Write the tracks that have ended; `now` in monotonic seconds, infinite to write all."""
        for key, track in list(self._open.items()):
            wait_s = self._settings.settle_s if track.has_ended else _IDLE_S
            if now - track.updated_at >= wait_s:
                del self._open[key]
                self._write(key, track)
                now_file(self._folder, *key).unlink(missing_ok=True)
            elif self._shows_now:
                self._show(key, track)
        if len(self._named) > _NAMES:
            for key in [key for key in list(self._named) if key not in self._open]:
                self._named.pop(key, None)
        for folder in self._room.trim(self._clock()):
            self._labels.forget(folder)

    def _show(self, key: Key, track: _Open) -> None:
        """Keep the best crop so far where others can see it, until the track is written."""
        best = max(track.crops, key=lambda kept: kept.quality)
        if best.quality <= track.shown:
            return
        track.shown = best.quality
        path = now_file(self._folder, *key)
        with contextlib.suppress(OSError):  # reported when the track is written
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(PART)
            part.write_bytes(best.jpeg)
            part.replace(path)

    def _write(self, key: Key, track: _Open) -> None:
        crops = sorted(track.crops, key=lambda kept: kept.at)
        person, revision = self._named.pop(key, (None, 0))
        has_vectors = self._settings.vectors and all(kept.vector is not None for kept in crops)
        stored = StoredTrack(
            camera=key[0],
            run=key[1],
            track=key[2],
            times=[kept.at for kept in crops],
            boxes=[kept.box for kept in crops],
            qualities=[kept.quality for kept in crops],
            clock=track.clock,
            global_id=person,
            revision=revision,
            bundle=track.model,
            vectors=VECTORS_FILE if has_vectors else None,
        )
        vectors = np.stack([np.frombuffer(kept.vector or b"", np.float16) for kept in crops]) if has_vectors else None
        for is_last in (False, True):
            try:
                folder = write(self._folder, stored, [kept.jpeg for kept in crops], vectors)
            except (OSError, ValueError, OverflowError) as error:  # the latter for a time that is of no day
                shutil.rmtree(self._folder / PART, ignore_errors=True)
                if _is_full(error) and not is_last:
                    for gone in self._room.give_way():
                        self._labels.forget(gone)
                    continue
                self._fail(error, len(crops))
                return
            self._is_failing = False
            self._room.add(folder, self._clock())
            self._labels.add(folder, person)
            self.written += len(crops)
            return

    def _fail(self, error: Exception, crops: int) -> None:
        self.lost["disk full" if _is_full(error) else "unwritable"] += crops
        if not self._is_failing:  # one line per change of state
            self._is_failing = True
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            _log.warning("store_dropping_crops", store=str(self._folder), reason=reason)


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in _FULL


def _lock(folder: Path) -> IO[str]:
    """Make the folder and hold it, so that no second daemon writes it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        require_own(folder)
        lock = os.fdopen(open_own(folder / ".lock", os.O_WRONLY), "w")
    except OSError as error:
        raise ConfigError(f"store.folder must be a folder that can be written, {folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise InUseError(
            f"store.folder must be used by one daemon only, another one writes {folder}; give each its own folder"
        ) from error
    return lock
