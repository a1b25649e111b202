"""Detections in, Tracks out, one camera, by time (pure).

The association is the `trackers` package's (Apache-2.0): ByteTrack (Zhang et al., ECCV 2022), BoT-SORT (Aharon et al.,
2022; without camera-motion compensation: cameras stand still) or OC-SORT (Cao et al., CVPR 2023). This file holds what
it leaves open: numbers never used twice, tracks that end in seconds, boxes kept in order, clocks that jump.

A tracker is used by one thread at a time; two trackers share nothing.
"""

from typing import TYPE_CHECKING, assert_never

import numpy as np

from reid_stream.config.settings import Track as TrackSettings
from reid_stream.records import CameraId, Detections, Ints, TrackId, Tracks
from reid_stream.track.still_life import StillLife

if TYPE_CHECKING:
    from trackers.core.base import BaseTracker
    from trackers.utils.iou import BIoU

_BUFFER_FPS = 30.0
"""`trackers` states its lost buffer in frames at 30 fps (`BaseTracker._compute_maximum_frames_without_update`)."""
_NOMINAL_FPS = {"bytetrack": 5.0, "botsort": 10.0, "ocsort": 10.0}
"""Frame rate for which the Kalman noise is stated; real gaps are multiples of it. Best mean HOTA over PETS09-S2L1,
ADL-Rundle-6, TUD-Campus and worlds/plaza at 2, 5, 10 and 30 fps; with the package's 30, ByteTrack lost 0.09."""
_WIDEN_AFTER_S = 0.1
_WIDEN_PER_S = 1.0
_WIDEN_MOST = 0.3
"""Boxes are widened by a share of their size before overlaps are taken (C-BIoU, Yang et al., WACV 2023), the more the
longer the last frame is past: at 2 fps mean HOTA 0.51 with, 0.33 without; at 10 fps it would only mix people up."""
_NO_TRACK = -1


class Tracker:
    """Follow the people of one camera."""

    def __init__(self, settings: TrackSettings, first_id: int = 0) -> None:
        """`first_id`: lowest number of a track."""
        self._settings = settings
        self._inner, self._overlap = _build(settings)
        self._first_id = first_id
        """Added to the package's numbers, so that none comes twice after a reset."""
        self._next_id = first_id
        self._last_at: float | None = None
        self._alive: set[int] = set()
        # `birth_score` may be set below `still_score`; a box that may start a track must not count as weak.
        self._still_life = StillLife(min(settings.still_score, settings.birth_score), settings.lost_s)

    def update(self, camera: CameraId, seen_at: float, detections: Detections) -> Tracks:
        """Advance to the frame of `seen_at` (UTC seconds).

        A frame that is not newer than the last is not used: all its boxes come back unassigned. A clock that jumps back
        by more than `lost_s` ends all tracks and restarts.

        Raises:
            ValueError: `seen_at` is not finite.
        """
        if not np.isfinite(seen_at):
            raise ValueError(f"seen_at must be finite, got {seen_at}")
        ended: list[int] = []
        if self._last_at is not None and seen_at <= self._last_at:
            if seen_at > self._last_at - self._settings.lost_s:
                return _tracks(camera, seen_at, detections, np.full(len(detections), _NO_TRACK), [])
            ended = self._reset()
        gap_s = seen_at - self._last_at if self._last_at is not None else 0.0
        self._overlap.buffer_ratio = float(np.clip((gap_s - _WIDEN_AFTER_S) * _WIDEN_PER_S, 0.0, _WIDEN_MOST))
        self._last_at = seen_at
        ids = self._associate(seen_at, detections)
        self._drop_still_life(seen_at, detections, ids)
        alive = {tracklet.tracker_id + self._first_id for tracklet in self._inner.tracks if tracklet.tracker_id >= 0}
        over = sorted(self._alive - alive)
        self._still_life.forget(over)
        ended.extend(over)
        self._alive = alive
        return _tracks(camera, seen_at, detections, ids, ended, len(self._inner.tracks) - len(alive))

    def _associate(self, seen_at: float, detections: Detections) -> Ints:
        """Return the track of each box (n,), -1 for none."""
        import supervision

        order = _canonical(detections)
        ids = np.full(len(detections), _NO_TRACK, dtype=np.int64)
        # The package reorders and, in BoT-SORT, drops boxes: each carries its own index.
        found = supervision.Detections(
            xyxy=detections.boxes[order],
            confidence=detections.scores[order],
            data={"index": order},
        )
        tracked = self._inner.update(found, timestamp=seen_at)
        if len(tracked) and tracked.tracker_id is not None:
            numbers = np.asarray(tracked.tracker_id, dtype=np.int64)
            assigned = np.where(numbers >= 0, numbers + self._first_id, _NO_TRACK)
            ids[np.asarray(tracked.data["index"], dtype=np.int64)] = assigned
            self._next_id = max(self._next_id, int(assigned.max()) + 1)
        self._forget_old_boxes()
        return ids

    def _drop_still_life(self, seen_at: float, detections: Detections, ids: Ints) -> None:
        """Unassign weak boxes that stay in place, and end the tracks that were left behind on them."""
        rows, over = self._still_life.update(seen_at, detections.boxes, detections.scores, ids)
        ids[rows] = _NO_TRACK
        if over:
            gone = {track - self._first_id for track in over}
            self._inner.tracks = [tracklet for tracklet in self._inner.tracks if tracklet.tracker_id not in gone]

    def _forget_old_boxes(self) -> None:
        """Bound OC-SORT's memory: it keeps every box of a living track but looks back `delta_t` frames."""
        for tracklet in self._inner.tracks:
            boxes = getattr(tracklet, "observations", None)
            if boxes is not None and len(boxes) > 64:
                for age in sorted(boxes)[:-32]:
                    del boxes[age]

    def _reset(self) -> list[int]:
        """Restart with new numbers; return the tracks that this ends."""
        ended = sorted(self._alive)
        self._still_life.forget(ended)
        self._inner, self._overlap = _build(self._settings)
        self._first_id = self._next_id
        self._alive = set()
        return ended


def _canonical(detections: Detections) -> Ints:
    """Order boxes by their own values, so that the detector's order decides nothing (new numbers, ties)."""
    boxes = detections.boxes
    keys = (boxes[:, 3], boxes[:, 2], boxes[:, 1], boxes[:, 0], -detections.scores)
    return np.asarray(np.lexsort(keys), dtype=np.int64)


def _tracks(
    camera: CameraId,
    seen_at: float,
    detections: Detections,
    ids: Ints,
    ended: list[int],
    unconfirmed: int = 0,
) -> Tracks:
    kept = ids >= 0
    return Tracks(
        camera=camera,
        seen_at=seen_at,
        boxes=detections.boxes[kept],
        scores=detections.scores[kept],
        ids=ids[kept],
        unassigned=int(np.count_nonzero(~kept)),
        ended=tuple(TrackId(number) for number in ended),
        unconfirmed=unconfirmed,
    )


def _build(settings: TrackSettings) -> "tuple[BaseTracker, BIoU]":
    """Return a tracker and the overlap measure it uses, whose widening is set for each frame.

    Raises:
        ValueError: there is no such algorithm.
    """
    if settings.algorithm not in _NOMINAL_FPS:
        raise ValueError(f"track.algorithm must be one of {', '.join(_NOMINAL_FPS)}, got {settings.algorithm!r}")
    import trackers
    from trackers.utils.iou import BIoU

    overlap = BIoU(0.0)
    lost = max(1, round(settings.lost_s * _BUFFER_FPS))
    nominal_fps = _NOMINAL_FPS[settings.algorithm]
    if settings.algorithm == "botsort":
        botsort = trackers.BoTSORTTracker(
            lost_track_buffer=lost,
            frame_rate=nominal_fps,
            track_activation_threshold=settings.birth_score,
            high_conf_det_threshold=settings.high_score,
            minimum_iou_threshold_first_assoc=settings.first_iou,
            enable_cmc=False,
            iou=overlap,
        )
        return botsort, overlap
    if settings.algorithm == "ocsort":
        ocsort = trackers.OCSORTTracker(
            lost_track_buffer=lost,
            frame_rate=nominal_fps,
            high_conf_det_threshold=settings.birth_score,
            minimum_iou_threshold=settings.first_iou,
            iou=overlap,
        )
        return ocsort, overlap
    if settings.algorithm != "bytetrack":
        assert_never(settings.algorithm)
    bytetrack = trackers.ByteTrackTracker(
        lost_track_buffer=lost,
        frame_rate=nominal_fps,
        track_activation_threshold=settings.birth_score,
        high_conf_det_threshold=settings.high_score,
        minimum_iou_threshold=settings.first_iou,
        iou=overlap,
    )
    return bytetrack, overlap
