"""`bench engines`: every engine on the same images; shares are relative to the fastest."""

from pathlib import Path

from reid_stream.bench.engines import measure
from reid_stream.bundles import bundle
from reid_stream.bundles.wrap import wrap_embedder
from tests.engines.networks import channel_means


def test_every_engine_of_this_machine_is_measured_and_compared(tmp_path: Path) -> None:
    wrap_embedder(channel_means(tmp_path / "m.onnx"), tmp_path / "tiny", height=24, width=16)
    rows = measure(bundle.load(tmp_path / "tiny"), tmp_path / "tiny", seconds=0.01, threads=1, batches=(1, 3))
    assert {"openvino cpu f32", "onnxruntime cpu f32"} <= {row.engine for row in rows}
    for batch in (1, 3):
        found = [row for row in rows if row.batch == batch]
        assert max(row.share for row in found) == 1
        assert found[0].difference == 0
        assert all(row.pictures_per_s > 0 and row.difference < 0.05 for row in found)
