"""Post-training quantisation of weights and activations to int8 by NNCF, on real images.

    ONNX float32 -> (constants folded, normalisation fused) -> ONNX with QuantizeLinear/DequantizeLinear pairs

Source: NNCF, "Post-training quantization" (`nncf.quantize`, ONNX backend): ranges by statistics of activations, scales
per output channel, fast bias correction.
"""

import logging
import os
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx

from trainer.errors import TrainerError

Floats = npt.NDArray[np.float32]


def quantise(
    content: bytes, batches: Sequence[Floats], keep: Sequence[str] = (), keep_types: Sequence[str] = ()
) -> bytes:
    """Return the network in int8.

    Args:
        content: ONNX, any stored weights.
        batches: network inputs (1, 3, h, w) that show what it will see.
        keep: regular expressions of the nodes that stay float32.
        keep_types: ONNX operations that do.

    Raises:
        TrainerError: nncf is not there, or cannot quantise this network.
    """
    from reid_stream.bundles.onnx_weights import unpacked

    # NNCF would report its use to its makers.
    os.environ.setdefault("NNCF_CI", "1")
    try:
        import nncf
        import onnxslim
    except ImportError as error:
        raise TrainerError(
            f"int8 needs nncf and onnxslim, {error.name} is missing: pip install 'reid-stream[train,int8]' (on Python "
            "3.11: nncf wants an older numpy than later ones get)"
        ) from error
    if not batches:
        raise TrainerError("int8 needs pictures to take the ranges of activations from, got none")
    try:
        nncf.set_log_level(logging.WARNING)  # else a line for each node that is kept
        model = onnxslim.slim(unpacked(onnx.load_from_string(content)))
        entry = model.graph.input[0].name
        present = {node.op_type for node in model.graph.node}
        scope = nncf.IgnoredScope(
            patterns=[name for name in keep if _matches(name, model)],
            types=[name for name in keep_types if name in present],
        )
        made = nncf.quantize(
            model,
            nncf.Dataset([{entry: np.ascontiguousarray(batch)} for batch in batches]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(batches),
            ignored_scope=scope,
        )
    except TrainerError:
        raise
    except Exception as error:  # nncf, onnxslim, onnx and onnxruntime each have their own
        raise TrainerError(f"nncf cannot quantise this network: {error}") from error
    return bytes(made.SerializeToString())


def _matches(pattern: str, model: onnx.ModelProto) -> bool:
    """Whether a pattern fits a node; NNCF refuses one that fits none."""
    return any(re.fullmatch(pattern, node.name) for node in model.graph.node)
