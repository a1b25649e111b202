"""Regions on shared canvases give the boxes that whole frames give, each person once."""

from collections.abc import Sequence

import numpy as np
import pytest

from reid_stream import boxes as box_maths
from reid_stream.config.settings import Detect
from reid_stream.detect import canvas
from reid_stream.detect.costs import Costs
from reid_stream.detect.letterbox import fit
from reid_stream.detect.yolo import Detector, DetectorSpec
from reid_stream.engines.protocol import Floats
from reid_stream.images import UInt8
from reid_stream.records import CameraId, Frame

SPEC = DetectorSpec(height=640, width=640, decoder="yolo", classes=1)
SIZES = [(768, 576), (1920, 1080), (640, 480), (1280, 720), (360, 640)]


class BrightBlobs:
    """An engine whose network finds bright rectangles, and is as local as can be: the exact box of each.

    Answers as YOLOv8 does. Counts the pixels that it was given.
    """

    name = "blobs"
    input_shape = (None, 3, None, None)
    output_shape = (None, 5, None)
    pixels = SPEC.pixels

    def __init__(self) -> None:
        self.seen_px = 0

    def __call__(self, batch: Floats) -> Floats:
        raise NotImplementedError

    def images(self, batch: UInt8) -> Floats:
        import cv2

        self.seen_px += batch.shape[0] * batch.shape[1] * batch.shape[2]
        output = np.zeros((len(batch), 5, 100), np.float32)
        for row, picture in enumerate(batch):
            _, _, stats, _ = cv2.connectedComponentsWithStats((picture[..., 0] > 180).astype(np.uint8), connectivity=8)
            for number, (left, top, width, height, _) in enumerate(stats[1:101]):
                output[row, :, number] = left + width / 2, top + height / 2, width, height, 0.9
        return output


def scene(size: tuple[int, int], people: Sequence[Sequence[float]]) -> UInt8:
    image = np.full((size[1], size[0], 3), 60, np.uint8)
    for x1, y1, x2, y2 in people:
        image[int(y1) : int(y2), int(x1) : int(x2)] = 255
    return image


def some_people(random: np.random.Generator, size: tuple[int, int], most: int) -> Floats:
    """People apart from one another by 12 pixels or more in the network's input."""
    apart = 12 * max(size) / 640
    chosen: list[list[float]] = []
    for _ in range(most):
        height = float(random.uniform(0.1, 0.35) * size[1])
        width = height * float(random.uniform(0.3, 0.6))
        left, top = float(random.uniform(0, size[0] - width)), float(random.uniform(0, size[1] - height))
        box = [float(round(edge)) for edge in (left, top, left + width, top + height)]
        wide = np.array([box], np.float32) + np.array([-apart, -apart, apart, apart], np.float32)
        if not chosen or box_maths.intersection(wide, np.array(chosen, np.float32)).max() == 0:
            chosen.append(box)
    return np.array(chosen, np.float32).reshape(-1, 4)


def padded(boxes: Floats, px: float) -> Floats:
    return np.asarray(boxes + np.array([-px, -px, px, px], np.float32), np.float32)


def ordered(boxes: Floats) -> Floats:
    return boxes[np.lexsort((boxes[:, 1], boxes[:, 0]))]


def frame(number: int, size: tuple[int, int], people: Floats, regions: Floats | None) -> Frame:
    image = scene(size, people.tolist())
    return Frame(CameraId(str(number)), 0, 0.0, "file", image, None, regions)


@pytest.mark.parametrize("seed", range(25))
def test_packed_regions_of_several_cameras_give_the_boxes_of_whole_frames_exactly(seed: int) -> None:
    random = np.random.default_rng(seed)
    sizes = [SIZES[int(random.integers(len(SIZES)))] for _ in range(int(random.integers(1, 6)))]
    people = [some_people(random, size, int(random.integers(1, 5))) for size in sizes]
    whole_engine, packed_engine = BrightBlobs(), BrightBlobs()
    whole = Detector(whole_engine, SPEC, Detect())(
        [frame(n, size, who, None) for n, (size, who) in enumerate(zip(sizes, people, strict=True))]
    )
    packed = Detector(packed_engine, SPEC, Detect())(
        [
            frame(n, size, who, padded(who, 20 * max(size) / 640))
            for n, (size, who) in enumerate(zip(sizes, people, strict=True))
        ]
    )
    for expected, found, who in zip(whole, packed, people, strict=True):
        assert len(found) == len(who)
        np.testing.assert_allclose(ordered(found.boxes), ordered(expected.boxes), atol=1e-3)
    assert packed_engine.seen_px <= whole_engine.seen_px


def test_a_few_people_of_four_cameras_share_one_small_canvas() -> None:
    engine = BrightBlobs()
    people = np.array([[300, 200, 330, 280]], np.float32)
    frames = [frame(number, (768, 576), people, padded(people, 20)) for number in range(4)]
    found = Detector(engine, SPEC, Detect())(frames)
    assert [len(each) for each in found] == [1] * 4
    assert engine.seen_px <= 320 * 320


@pytest.mark.parametrize("seed", range(25))
def test_a_person_whom_regions_cut_is_found_once_and_whole(seed: int) -> None:
    random = np.random.default_rng(100 + seed)
    size = 768, 576
    people = some_people(random, size, 6)
    # Regions of anything: halves of people, parts that overlap, empty places.
    corners = random.uniform(0, 1, (int(random.integers(1, 7)), 2)) * size
    sides = random.uniform(20, 200, (len(corners), 2))
    regions = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    (found,) = Detector(BrightBlobs(), SPEC, Detect())([frame(0, size, people, regions)])
    (whole,) = Detector(BrightBlobs(), SPEC, Detect())([frame(0, size, people, None)])
    overlaps = box_maths.iou(found.boxes, whole.boxes)
    assert (overlaps.max(axis=1, initial=0) > 0.99).all()  # no halves
    assert ((overlaps > 0.5).sum(axis=0) <= 1).all()  # none twice
    held = box_maths.intersection(whole.boxes, box_maths.clip(regions, size))
    inside = held.max(axis=1, initial=0) >= 0.999 * box_maths.area(whole.boxes)
    assert (overlaps[:, inside].max(axis=0, initial=0) > 0.99).all()  # no one missed within a region


def test_where_regions_are_most_of_the_frame_it_is_looked_at_whole() -> None:
    engine = BrightBlobs()
    regions = np.array([[10, 10, 700, 500]], np.float32)
    Detector(engine, SPEC, Detect())([frame(0, (768, 576), regions[:0], regions)])
    assert engine.seen_px == 640 * 480


def test_a_network_of_fixed_size_gets_regions_of_several_cameras_in_one_input() -> None:
    engine = BrightBlobs()
    engine.input_shape = (None, 3, 640, 640)  # type: ignore[assignment]
    people = np.array([[300, 200, 330, 280]], np.float32)
    frames = [frame(number, (768, 576), people, padded(people, 20)) for number in range(3)]
    found = Detector(engine, SPEC, Detect())(frames)
    assert [len(each) for each in found] == [1] * 3
    assert engine.seen_px == 640 * 640


def test_patches_do_not_overlap_and_hold_every_region() -> None:
    random = np.random.default_rng(3)
    for _ in range(200):
        size = SIZES[int(random.integers(len(SIZES)))]
        corners = random.uniform(-0.1, 1, (int(random.integers(1, 12)), 2)) * size
        regions = np.concatenate([corners, corners + random.uniform(1, 200, corners.shape)], axis=1).astype(np.float32)
        layout = fit(size, (640, 640), stride=32)
        patches = canvas.patches_of(0, regions, layout)
        boxes = np.array([patch.box for patch in patches], np.float32).reshape(-1, 4)
        assert (boxes % canvas.CELL == 0).all()
        assert (np.triu(box_maths.intersection(boxes, boxes), k=1) == 0).all()
        wanted = layout.to_input(box_maths.clip(regions, size))
        wanted = wanted[box_maths.area(wanted) > 1]
        shared = box_maths.intersection(wanted, boxes).max(axis=1, initial=0)
        np.testing.assert_allclose(shared, box_maths.area(wanted), rtol=1e-3)


def test_a_packing_places_every_patch_once_within_its_canvas() -> None:
    random = np.random.default_rng(4)
    for _ in range(100):
        edges = (random.integers(1, 8, (int(random.integers(1, 40)), 2)) * 32).tolist()
        patches = [canvas.Patch(0, (0, 0, wide, high), (True,) * 4) for wide, high in edges]
        packing = canvas.pack(patches, (256, 256))
        assert packing is not None
        for number in range(packing.canvases):
            placed = [patch for patch in packing.patches if patch.canvas == number]
            corners = np.array([(p.left, p.top, p.left + p.size[0], p.top + p.size[1]) for p in placed], np.float32)
            assert (corners >= 0).all()
            assert (corners <= 256).all()
            assert (np.triu(box_maths.intersection(corners, corners), k=1) == 0).all()
        assert sorted(patch.box for patch in packing.patches) == sorted(patch.box for patch in patches)


def test_measured_costs_decide_and_calls_that_compile_do_not_count() -> None:
    times = iter([0.0, 9.0, *(edge for call in range(10) for edge in (10.0 + call, 10.5 + call))])
    costs = Costs(lambda: next(times))
    assert costs.of((64, 64)) > costs.of((32, 32))  # by area, until something is known
    for _ in range(11):
        with costs.measured((64, 64), 2):
            pass
    assert costs.of((64, 64)) == pytest.approx(0.25)
    assert 0 < costs.of((32, 32)) < 0.25


def test_a_live_detector_uses_no_canvas_before_it_is_warm() -> None:
    engine = BrightBlobs()
    people = np.array([[300, 200, 330, 280]], np.float32)
    detector = Detector(engine, SPEC, Detect(), clock=iter(range(1000)).__next__)
    looked = [frame(0, (768, 576), people, padded(people, 20))]
    detector(looked)
    assert engine.seen_px == 640 * 480
    detector.warm_up()
    engine.seen_px = 0
    detector(looked)
    assert engine.seen_px == 256 * 256
