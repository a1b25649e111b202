"""BoxMOT's BoT-SORT with OSNet, behind ultralytics' detector, as in its README."""

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import cv2
import numpy as np
import torch
from boxmot import BotSort
from job import Row, answer, clips  # type: ignore[import-not-found, unused-ignore]
from ultralytics import YOLO


def main() -> None:
    """Run the job."""
    for name, video, job in clips():
        torch.set_num_threads(job["threads"])
        model = YOLO(job["weights"], task="detect")
        first = cv2.VideoCapture(video).read()[1]
        model.predict(first, verbose=False, classes=[0])
        tracker = BotSort(reid_weights=Path(job["reid"]), device="cpu", half=False)

        def follow(model: YOLO = model, video: str = video, tracker: BotSort = tracker) -> Iterator[list[Row]]:
            capture = cv2.VideoCapture(video)
            number = 0
            while (read := capture.read())[0]:
                number += 1
                boxes = model.predict(read[1], verbose=False, classes=[0], conf=0.1)[0].boxes
                found = np.asarray(boxes.data.cpu(), dtype=np.float32).reshape(-1, 6)
                tracks = np.asarray(tracker.update(found, read[1]), dtype=np.float64).reshape(-1, 8)
                yield [(number, int(t[4]), t[0], t[1], t[2] - t[0], t[3] - t[1], t[5]) for t in tracks]

        answer(name, job, follow)


main()
