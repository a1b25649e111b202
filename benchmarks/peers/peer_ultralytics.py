"""`YOLO.track` of ultralytics: BoT-SORT with ReID, as in its documentation."""

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import cv2
import torch
from job import Row, answer, clips  # type: ignore[import-not-found, unused-ignore]
from ultralytics import YOLO

TRACKER = """
tracker_type: botsort
track_high_thresh: 0.25
track_low_thresh: 0.1
new_track_thresh: 0.25
track_buffer: 30
match_thresh: 0.8
fuse_score: True
gmc_method: sparseOptFlow
proximity_thresh: 0.5
appearance_thresh: 0.8
with_reid: True
model: auto
"""
"""ultralytics' own botsort.yaml with ReID switched on; `auto` takes the detector's own features, which costs least."""


def main() -> None:
    """Run the job."""
    for name, video, job in clips():
        torch.set_num_threads(job["threads"])
        tracker = Path(job["out"]) / "botsort.yaml"
        tracker.write_text(TRACKER, encoding="utf-8")
        model = YOLO(job["weights"], task="detect")
        first = cv2.VideoCapture(video).read()[1]
        model.predict(first, verbose=False, classes=[0])

        def follow(model: YOLO = model, video: str = video, tracker: Path = tracker) -> Iterator[list[Row]]:
            results = model.track(video, stream=True, persist=True, tracker=str(tracker), classes=[0], verbose=False)
            for number, result in enumerate(results, 1):
                rows: list[Row] = []
                if result.boxes is not None and result.boxes.id is not None:
                    boxes = result.boxes
                    for (x1, y1, x2, y2), track, score in zip(
                        boxes.xyxy.tolist(), boxes.id.int().tolist(), boxes.conf.tolist(), strict=True
                    ):
                        rows.append((number, track, x1, y1, x2 - x1, y2 - y1, score))
                yield rows

        answer(name, job, follow)


main()
