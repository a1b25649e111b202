"""Ablation tables: the two of Cao & Lee, each recipe without its parts, and distillation without its parts.

    a table's variants x seeds ─▶ runs OUT/VARIANT-sSEED ─▶ trainer/evaluate/comparison.py

Runs that have ended are skipped and killed ones are resumed, so a table can be made bit by bit. The first seed
of all variants comes before the second, so that half the time gives a whole table.

Source: Cao & Lee (arXiv 1910.04061), tables 2 and 3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainer.config import TrainSettings
from trainer.data.crops import Images
from trainer.errors import TrainerError
from trainer.train.loop import load_images, train
from trainer.train.recipe import names, recipe


@dataclass(frozen=True)
class AblationVariant:
    """One row of a table."""

    name: str
    recipe: str
    changes: tuple[str, ...] = ()
    published: tuple[float, float] | None = None
    """Rank-1 and mAP on the whole of Market-1501, trained in full, where the paper has this row."""


_ERASING = (
    (0.0, 0.8824, 0.7114), (0.1, 0.8982, 0.7510), (0.2, 0.9005, 0.7543), (0.3, 0.8996, 0.7550), (0.4, 0.9047, 0.7613),
    (0.5, 0.9002, 0.7639), (0.6, 0.8946, 0.7475), (0.7, 0.8904, 0.7458), (0.8, 0.8901, 0.7406), (0.9, 0.8916, 0.7431),
    (1.0, 0.8919, 0.7414),
)  # fmt: skip
TABLES: dict[str, tuple[AblationVariant, ...]] = {
    # Its row 0.4 is table 3's ResNet-50: that is what table 2 was made with.
    "erasing": tuple(
        AblationVariant(
            f"erase-{share:.1f}", "paper", ("model.backbone=resnet50", f"augment.erase={share}"), (rank1, mean_ap)
        )
        for share, rank1, mean_ap in _ERASING
    ),
    "backbones": (
        AblationVariant("resnet50", "paper", ("model.backbone=resnet50",), (0.9047, 0.7613)),
        AblationVariant("res2net50", "paper", ("model.backbone=res2net50_26w_4s",), (0.9293, 0.7735)),
        AblationVariant("densenet121", "paper", ("model.backbone=densenet121",), (0.9076, 0.7560)),
        AblationVariant("res2net101", "paper", ("model.backbone=res2net101_26w_4s",), (0.9314, 0.7767)),
    ),
    "recipes": (
        AblationVariant("paper", "paper"),
        AblationVariant("done_right", "done_right"),
        AblationVariant("strong", "strong"),
        AblationVariant("magnifier", "magnifier"),
        AblationVariant("paper,no-verification", "paper", ("loss.verification=0",)),
        AblationVariant("done_right,no-ranking", "done_right", ("ranking.start=1",)),
        AblationVariant("strong,no-verification", "strong", ("loss.verification=0",)),
        AblationVariant("magnifier,no-branches", "magnifier", ("model.adversarial=false", "model.fusion=false")),
        AblationVariant("paper,no-erasing", "paper", ("augment.erase=0",)),
        AblationVariant("done_right,average", "done_right", ("model.pool=average",)),
        AblationVariant("strong,curriculum", "strong", ("augment.erase_start=0.05",)),
        AblationVariant("paper,gap", "paper", ("model.descriptor=gap",)),
        AblationVariant("done_right,even-erasing", "done_right", ("augment.erase_start=null",)),
        AblationVariant("magnifier,no-diversity", "magnifier", ("model.diversity_weight=0",)),
    ),
    # The pose network is the user's: --set data.regions=FILE.tflite, --set data.keypoints=FOLDER to ask it once.
    "regions": (
        AblationVariant("magnifier,pose", "magnifier", ("model.regions=pose",)),
        AblationVariant("magnifier,stripes", "magnifier", ("data.regions=null",)),
        AblationVariant(
            "magnifier,no-branches", "magnifier", ("data.regions=null", "model.adversarial=false", "model.fusion=false")
        ),
    ),
    # Teachers and crops without labels are the user's: --set distill.teachers=..., --set distill.unlabelled=...
    "distillation": (
        AblationVariant("distilled", "distilled"),
        AblationVariant("distilled,no-teacher", "distilled", ("distill.teachers=[]",)),
        AblationVariant("distilled,vectors-alone", "distilled", ("distill.pairs=0",)),
        AblationVariant("distilled,pairs-alone", "distilled", ("distill.vectors=0",)),
        AblationVariant("distilled,no-unlabelled", "distilled", ("distill.unlabelled=[]",)),
        AblationVariant("distilled,fewer-people", "distilled", ("data.sets=[market1501, cuhk03]",)),
        AblationVariant("distilled,no-verification", "distilled", ("loss.verification=0",)),
        AblationVariant("distilled,no-labels", "distilled", ("distill.labels=0",)),
        AblationVariant("distilled,larger", "distilled", ("model.layers=[3, 4, 6, 3]",)),
    ),
}


def variants(table: str, only: tuple[str, ...] = ()) -> tuple[AblationVariant, ...]:
    """Return the rows of a table, or those of them that are named.

    Raises:
        TrainerError: no such table or row.
    """
    if table not in TABLES:
        raise TrainerError(f"--table must be one of {', '.join(TABLES)}, got {table!r}")
    rows = {variant.name: variant for variant in TABLES[table] if variant.recipe in names()}
    if missing := sorted(set(only) - set(rows)):
        raise TrainerError(f"--only must name rows of {table}: {', '.join(rows)}; got {', '.join(missing)}")
    return tuple(variant for name, variant in rows.items() if not only or name in only)


def ablate(
    rows: tuple[AblationVariant, ...],
    out: Path,
    data: Path | None,
    budget: float,
    seeds: tuple[int, ...],
    changes: tuple[str, ...],
    log: Callable[[str], None],
) -> list[Path]:
    """Train every row with every seed and return the folders; `changes` are common to all rows, whose own come last.

    Raises:
        TrainerError: rows of `distillation` have no teacher, or those of `regions` no network; or a run fails.
    """
    named = {change.split("=", 1)[0].strip() for change in changes}
    if any(row.recipe == "distilled" for row in rows) and "distill.teachers" not in named:
        raise TrainerError('the table distillation needs --set "distill.teachers=[{path: NETWORK}]"')
    if any("model.regions=pose" in row.changes for row in rows) and "data.regions" not in named:
        raise TrainerError("the table regions needs --set data.regions=FILE, a pose network (.tflite or ONNX)")
    folders: list[Path] = []
    loaded: dict[str, tuple[Images, Images]] = {}
    for seed in seeds:
        for row in rows:
            folder = out / f"{row.name}-s{seed}"
            folders.append(folder)
            if (folder / "report.json").exists():
                log(f"{folder} has ended, skipped")
                continue
            settings = recipe(row.recipe, (*changes, *row.changes, f"run.seed={seed}"), budget)
            log(f"{folder}: {row.recipe} {' '.join(row.changes)}")
            train(settings, folder, data, (folder / "last.pt").exists(), _images(settings, data, loaded))
    return folders


def _images(
    settings: TrainSettings, data: Path | None, loaded: dict[str, tuple[Images, Images]]
) -> tuple[Images, Images]:
    """Return the images of a run, read once for all that want the same."""
    key = settings.data.model_copy(update={"regions": None, "keypoints": None}).model_dump_json()
    if key not in loaded:
        while len(loaded) > 1:  # they are large: two at a time
            del loaded[next(iter(loaded))]
        loaded[key] = load_images(settings, data)
    return loaded[key]
