"""Export a checkpoint as a bundle; refused if its network disagrees with the checkpoint.

| precision | weights in the file | must agree with the checkpoint |
| --- | --- | --- |
| f32 | float32 | cosine 0.99999, largest difference 1e-4 of unit vectors |
| f16 | float16, cast to float32 when loaded | cosine 0.9999 |
| int8-weights | int8 with a scale per output channel | cosine 0.99, validation mAP within 0.005 |

Only weights are stored in fewer bits: arithmetic is the engine's choice, so no value overflows in float16.
"""

import io
import warnings
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from reid_stream.bundles.bundle import Calibration, EmbedderBundle, EmbedderInput, Floats, Probe, probe_input, save
from reid_stream.bundles.foreign_network import run_once
from reid_stream.bundles.wrap import EMBEDDER_TOLERANCE, PROBE_SEED, now, with_probe
from reid_stream.embed.preprocess import InputSpec, UInt8, normalise
from trainer import provenance
from trainer.data.test_sets import TestSet, read_test_set
from trainer.errors import TrainerError
from trainer.evaluate.network import folded_verifier, unit
from trainer.evaluate.retrieval import score, squared_distances
from trainer.export import model_card
from trainer.model.branch import Branch
from trainer.model.onnx_weights import describe
from trainer.model.reduction import LARGEST
from trainer.model.siamese import LoadedBranch, load_branch

Precision = Literal["f32", "f16", "int8-weights"]
MIN_COSINE = {"f32": 0.99999, "f16": 0.9999, "int8-weights": 0.99}
MAX_DIFFERENCE = 1e-4
MAX_MAP_LOSS = 0.005
OPSET = 17
RESEARCH_ONLY = (
    "Research only: learned from public person data sets (Market-1501, CUHK) whose terms allow academic use only. "
    "Train your own on your own data for anything else."
)
# Biases and scales are small and sensitive: below this many numbers a tensor stays float32.
_MIN_COMPRESSED = 1024
_BATCH = 64


def export(
    checkpoint: Path,
    out: Path,
    precision: Precision,
    data: Path | None = None,
    name: str | None = None,
    note: str = "",
) -> tuple[EmbedderBundle, dict[str, float]]:
    """Write the bundle of a checkpoint and return it with the measured agreement.

    Args:
        checkpoint: a file, or a run's folder: its best one.
        out: folder of the bundle.
        precision: of the stored weights.
        data: folder that holds people/; with it the agreement is measured on the validation persons too.
        name: default: the folder's name.
        note: appended to the bundle's `source`: what the checkpoint cannot know.

    Raises:
        TrainerError: the exported network disagrees with the checkpoint; nothing is written.
    """
    loaded = load_branch(checkpoint)
    if loaded.dim > LARGEST:
        raise TrainerError(
            f"a bundle holds at most {LARGEST} numbers, {checkpoint} gives {loaded.dim} and no projection; "
            "export the best.pt of a run that has ended"
        )
    network = describe(to_onnx(loaded.branch, loaded.spec), loaded.branch, loaded.settings, loaded.state)
    content = compress(network, precision)
    bundle = _describe(loaded, checkpoint, name or out.name, note)
    settings = loaded.settings.data
    held = (
        read_test_set("market1501:validation", data, loaded.spec, settings.validation_ids, settings.validation_seed)
        if data
        else None
    )
    agreement = check_agreement(loaded.branch, content, bundle, loaded.spec, precision, held)
    bundle = with_probe(bundle, run_once(_network(content), probe_input(bundle), out))
    saved = save(bundle, content, out)
    model_card.write(saved, out)
    return saved, agreement


def to_onnx(branch: Branch, spec: InputSpec) -> bytes:
    """Return the branch as ONNX: images (b, 3, h, w) -> vectors (b, d), any b, one file."""
    memory = io.BytesIO()
    example = torch.zeros(2, 3, spec.height, spec.width)
    with warnings.catch_warnings():
        # The older exporter: it needs no onnxscript.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            branch.eval(),
            (example,),
            memory,  # type: ignore[arg-type]
            dynamo=False,
            # Nothing fused or folded: engines do that when they load, and training can start from the file's weights.
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["vectors"],
            dynamic_axes={"images": {0: "b"}, "vectors": {0: "b"}},
        )
    model = onnx.load_from_string(memory.getvalue())
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def compress(content: bytes, precision: Precision) -> bytes:
    """Store the weights of a float32 ONNX network in fewer bits."""
    if precision == "f32":
        return content
    model = onnx.load_from_string(content)
    graph = model.graph
    axes = _output_axes(graph)
    kept, added, nodes = [], [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if (
            values.dtype != np.float32
            or values.size < _MIN_COMPRESSED
            or (precision != "f16" and tensor.name not in axes)
        ):
            kept.append(tensor)
            continue
        small = f"{tensor.name}.{precision}"
        if precision == "f16":
            added.append(numpy_helper.from_array(values.astype(np.float16), small))
            nodes.append(helper.make_node("Cast", [small], [tensor.name], to=TensorProto.FLOAT))
        else:
            axis = axes[tensor.name]
            others = tuple(index for index in range(values.ndim) if index != axis)
            scale = np.maximum(np.abs(values).max(axis=others) / 127, 1e-12).astype(np.float32)
            shape = [-1 if index == axis else 1 for index in range(values.ndim)]
            whole = np.clip(np.round(values / scale.reshape(shape)), -127, 127).astype(np.int8)
            added += [numpy_helper.from_array(whole, small), numpy_helper.from_array(scale, f"{small}.scale")]
            nodes.append(helper.make_node("DequantizeLinear", [small, f"{small}.scale"], [tensor.name], axis=axis))
    compute = list(graph.node)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept + added)
    graph.node.extend(nodes + compute)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def check_agreement(
    branch: Branch, content: bytes, bundle: EmbedderBundle, spec: InputSpec, precision: Precision, held: TestSet | None
) -> dict[str, float]:
    """Compare an exported network with its branch on images; return cosine, difference and loss of mAP.

    Raises:
        TrainerError: they differ by more than the precision allows.
    """
    images = held.images.pixels if held else None
    compiled = _compile(content)
    expected, found = [], []
    for batch in _batches(bundle, images, spec):
        with torch.inference_mode():
            expected.append(unit(branch(torch.from_numpy(batch)).float().numpy()))
        found.append(unit(np.array(compiled(batch)[0], dtype=np.float32)))
    one, other = np.concatenate(expected), np.concatenate(found)
    measured = {
        "cosine": float((one * other).sum(axis=1).min()),
        "difference": float(np.abs(one - other).max()),
    }
    faults = []
    if not measured["cosine"] >= MIN_COSINE[precision]:
        faults.append(f"cosine must be at least {MIN_COSINE[precision]}, got {measured['cosine']:.6f}")
    if precision == "f32" and not measured["difference"] <= MAX_DIFFERENCE:
        faults.append(f"vectors must be within {MAX_DIFFERENCE}, got {measured['difference']:.2g}")
    if held is not None:
        before, after = (_mean_ap(vectors[: len(held.images)], held) for vectors in (one, other))
        measured |= {"mAP": before, "mAP_exported": after}
        if before - after > MAX_MAP_LOSS:
            faults.append(f"mAP must lie within {MAX_MAP_LOSS} of {before:.4f}, got {after:.4f}")
    if faults:
        raise TrainerError(f"the exported network ({precision}) disagrees with its checkpoint: {'; '.join(faults)}")
    return measured


def _describe(loaded: LoadedBranch, checkpoint: Path, name: str, note: str) -> EmbedderBundle:
    settings, state, verifier = loaded.settings, loaded.state, loaded.verifier
    source = provenance.describe(settings, state, provenance.run_name(checkpoint))
    return EmbedderBundle(
        name=name,
        created=now(),
        licence=RESEARCH_ONLY,
        data=provenance.learned_from(settings, state),
        source=f"{source}; {note}" if note else source,
        metrics={"checkpoint.validation.mAP": state.best} if state.best >= 0 else {},
        probe=Probe(seed=PROBE_SEED, shape=[], output=[], tolerance=EMBEDDER_TOLERANCE),
        input=msgspec.convert(
            {key: getattr(loaded.spec, key) for key in ("height", "width", "mean", "std", "colour")}, EmbedderInput
        ),
        dim=loaded.dim,
        verifier=folded_verifier(verifier.v.detach().numpy(), float(verifier.b.detach()), loaded.train_prior),
        calibration=Calibration(kind="none", parameters={}, prior=loaded.train_prior),
    )


def _batches(bundle: EmbedderBundle, images: UInt8 | None, spec: InputSpec) -> list[Floats]:
    probes = np.concatenate([probe_input(bundle, seed) for seed in range(16)])
    if images is None:
        return [probes]
    return [normalise(images[start : start + _BATCH], spec) for start in range(0, len(images), _BATCH)] + [probes]


def _compile(content: bytes) -> Any:
    import openvino

    return openvino.Core().compile_model(_network(content), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def _network(content: bytes) -> Any:
    import openvino

    return openvino.Core().read_model(content)


def _mean_ap(vectors: Floats, held: TestSet) -> float:
    return score(squared_distances(vectors[held.query], vectors[held.gallery]), held.labels).mean_ap


def _output_axes(graph: onnx.GraphProto) -> dict[str, int]:
    """Return which axis of each weight counts the outputs; a scale per output keeps int8's rounding small."""
    axes = {}
    for node in graph.node:
        if node.op_type == "Conv":
            axes[node.input[1]] = 0
        elif node.op_type == "MatMul":
            axes[node.input[1]] = 1
        elif node.op_type == "Gemm":
            transposed = any(item.name == "transB" and item.i for item in node.attribute)
            axes[node.input[1]] = 0 if transposed else 1
    return axes
