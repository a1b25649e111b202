"""Convert a simulated world to a recording, which everything that replays recordings takes (pure)."""

import numpy as np

from benchmarks.simulator.world import BEGINS_AT, RUN, SimulatedWorld
from reid_stream.bundles.bundle import EmbedderBundle
from reid_stream.evaluation.recording import RecordedBatch, Recording, TrueBoxes
from reid_stream.evaluation.stream import Timeline


def recording(world: SimulatedWorld, bundle: EmbedderBundle, name: str) -> Recording:
    """Return a world with the head of the bundle that made its vectors; second boxes are of no person in its truth."""
    rows = world.rows
    true = (world.ends == 0) & ~rows.duplicate
    truth = {}
    for number, camera in enumerate(world.names):
        here = np.flatnonzero(true & (rows.camera == number))
        truth[str(camera)] = TrueBoxes(
            frames=(rows.frame[here] + 1).tolist(),
            people=rows.person[here].tolist(),
            boxes=[(x1, y1, x2, y2) for x1, y1, x2, y2 in rows.box[here].tolist()],
        )
    return Recording(
        name=name,
        run=RUN,
        model=bundle.hash,
        dim=bundle.dim,
        verifier=bundle.verifier,
        calibration=bundle.calibrated,
        detector="",
        stages={},
        cameras={
            str(camera): Timeline(BEGINS_AT + float(skew), world.scenario.fps)
            for camera, skew in zip(world.names, world.skew, strict=True)
        },
        batches=[RecordedBatch(now, records) for now, records in world.batches()],
        truth=truth,
        frames=len(np.unique(rows.frame * world.scenario.cameras + rows.camera)),
        seconds=0.0,
    )
