"""`reid-train detector`: fine-tune YOLO to people, compare it with its teacher, bundle it if it is as good."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.output import say

if TYPE_CHECKING:
    from trainer.detector.evaluation import DetectorScore

DEFAULT_SOURCES = (
    "yolo:boxes/pennfudan.tar.gz",
    "yolo:boxes/coco_person_train.tar.gz",
    "clip:video/Retail02_short.mp4@15",
    "clip:video/one-by-one-person-detection.mp4@40",
)
# name=video,truth@every; neighbouring frames are nearly the same.
DEFAULT_SETS = (
    "ADL-Rundle-6=mot/ADL-Rundle-6/ADL-Rundle-6.mp4,mot/ADL-Rundle-6/gt/gt.txt@10",
    "PETS09-S2L1=video/vtest.avi,mot/PETS09-S2L1/gt.txt@10",
    "TUD-Campus=mot/TUD-Campus/TUD-Campus.mp4,mot/TUD-Campus/gt.txt@2",
)
DEFAULT_WEIGHTS = "detector/yolo11n_dequant.pt"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("detector")(detector)


def detector(
    out: Annotated[Path, typer.Option(help="folder of the run; the bundle is written to OUT/bundle")],
    data: Annotated[
        Path | None, typer.Option(envvar="REID_STREAM_DATA", help="folder that relative paths start from")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help=f"the teacher, a YOLO .pt; default: {DEFAULT_WEIGHTS}")] = None,
    source: Annotated[
        list[str] | None, typer.Option(help="yolo:PATH, mot:PATH[@EVERY] or clip:PATH[@EVERY]; may be repeated")
    ] = None,
    evaluate: Annotated[list[str] | None, typer.Option(help="NAME=VIDEO,TRUTH[@EVERY]; may be repeated")] = None,
    epochs: Annotated[int, typer.Option(min=0, help="passes over the images; 0 exports the teacher's person row")] = 2,
    size_px: Annotated[int, typer.Option(min=64, help="side of the training images in pixels, a multiple of 32")] = 416,
    batch: Annotated[int, typer.Option(min=1, help="images per step")] = 8,
    lr: Annotated[float, typer.Option(help="learning rate")] = 1e-4,
    blend: Annotated[
        float, typer.Option(min=0, max=1, help="0 keeps the teacher's weights, 1 takes the tuned ones")
    ] = 0.5,
    freeze_backbone: Annotated[bool, typer.Option(help="train neck and head only")] = True,
    budget_minutes: Annotated[float | None, typer.Option(help="stop the training after this many minutes")] = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 for all cores")] = 0,
    seed: Annotated[int, typer.Option(help="seed of order and augmentation")] = 1,
    name: Annotated[str, typer.Option(help="name of the bundle")] = "person-yolo11n",
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="run whatever code --weights contains; only for files you trust")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="write the bundle although it fails its gate, and record that in it")
    ] = False,
) -> None:
    """Fine-tune a YOLO detector to one class, person, and bundle it if it is as good as its teacher."""
    import torch

    from reid_stream.bundles.bundle import MODEL_FILE
    from reid_stream.bundles.wrap import wrap_detector
    from reid_stream.errors import ReidStreamError
    from trainer.detector import dataset, evaluation, network, release
    from trainer.errors import TrainerError
    from trainer.provenance import recorded_command

    log = say
    started = time.monotonic()
    if threads:
        torch.set_num_threads(threads)
    try:
        sources = [dataset.parse_source(text, data) for text in source or DEFAULT_SOURCES]
        sets = [evaluation.parse_set(text, data) for text in evaluate or DEFAULT_SETS]
        dataset.refuse_truth(sources, sets)
        tuning = network.Tuning(epochs, size_px, batch, lr, blend, freeze_backbone, budget_minutes, seed)
        teacher_file = weights or (data or Path()) / DEFAULT_WEIGHTS
        teacher = network.load_teacher(teacher_file, trust_pickle)
        wrap_detector(network.export(teacher, out / "work", "teacher"), out / "teacher", licence=release.LICENCE)
        judge = evaluation.open_detector(out / "teacher", threads)
        log(f"teacher {teacher_file.name} exported, {time.monotonic() - started:.0f} s")

        counts = dataset.prepare(sources, out / "data", lambda image: evaluation.find(judge, image))
        listed = ", ".join(f"{key} {count}" for key, count in counts.items())
        log(f"pictures: {listed}, {time.monotonic() - started:.0f} s")
        start = network.one_class(teacher)
        tuned = network.one_class(teacher)
        steps = network.fine_tune(tuned, out / "data", tuning, log) if epochs else 0
        full = network.export(network.blend(start, tuned, blend), out / "work", "tuned")

        candidate = out / "candidate"
        wrap_detector(_weights(full, out / "work" / "half.onnx", out / "data", log), candidate, licence=release.LICENCE)
        ours = evaluation.open_detector(candidate, threads)
        scores = []
        for labelled in sets:
            scores.append(evaluation.compare(labelled.name, evaluation.labelled_pictures(labelled), ours, judge))
            log(_row(scores[-1]))
        origin = release.Origin(
            name=name, command=recorded_command(), teacher=teacher_file.name, steps=steps,
            data=[f"{key}, {count} pictures" for key, count in counts.items()],
            minutes=(time.monotonic() - started) / 60,
        )  # fmt: skip
        faults = release.gate(scores)
        log(_table(scores))
        if faults and not force:
            raise release.GateError(
                f"{'; '.join(faults)}; no bundle was written, the network is {candidate / MODEL_FILE}: "
                "train longer or gentler (--lr, --blend), or write it all the same with --force"
            )
        bundle = release.ship(candidate, out / "bundle", scores, origin)
        log(f"bundle {out / 'bundle'}  {bundle.model_bytes / 1e6:.1f} MB  hash {bundle.hash[:12]}")
    except ReidStreamError as error:
        raise TrainerError(str(error)) from error
    except OSError as error:
        raise TrainerError(f"the folder of the run must be writable, {out}: {error.strerror or error}") from error


def _weights(full: Path, half: Path, data: Path, log: Callable[[str], None]) -> Path:
    """Return the network in 16 bit weights where it answers alike, else as it is."""
    from trainer.detector.dataset import sample
    from trainer.detector.network import halve_weights
    from trainer.detector.release import agree, is_parity

    halve_weights(full, half)
    difference = agree(full, half, sample(data))
    log(f"16 bit weights: scores differ by {difference[0]:.5f}, centres and sides by {difference[1]:.2f} px")
    if is_parity(difference):
        return half
    log("16 bit weights answer differently; 32 bits are kept")
    return full


def _row(score: "DetectorScore") -> str:
    return (
        f"{score.name:<16} {score.ours:>8.3f} {score.teacher:>8.3f} {score.ours - score.teacher:>+8.3f} "
        f"{score.pictures:>7} {score.people:>7}"
    )


def _table(scores: "Sequence[DetectorScore]") -> str:
    head = f"{'AP50':<16} {'ours':>8} {'teacher':>8} {'change':>8} {'frames':>7} {'people':>7}"
    return "\n".join([head, *map(_row, scores)])
