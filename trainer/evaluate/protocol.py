"""Network x test set -> Reports: retrieval, open-set and verification numbers, by cosine and by the verification head.

Tables are made by `table`, for programs through `Report.to_json`, for eyes through trainer/evaluate/plots.py.
"""

import json
import time
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from rich.table import Table
from rich.text import Text

from reid_stream.console.printable import printable
from trainer.data.test_sets import TestSet
from trainer.evaluate.network import TrainedNetwork, folded
from trainer.evaluate.rerank import rerank
from trainer.evaluate.retrieval import (
    Floats,
    RetrievalLabels,
    Scores,
    detection_rate,
    pair_distances,
    score,
    squared_distances,
    true_positive_rate,
)

Ranking = Literal["cosine", "verification", "cosine+rerank", "verification+rerank"]
FALSE_ALARM_RATES = (0.01, 0.001)
FALSE_POSITIVE_RATES = (1e-2, 1e-3, 1e-4)
# Above this many pairs a seeded draw of queries stands for all in the pair figures; 20 million floats are 80 MB.
MAX_PAIRS = 20_000_000


@dataclass(frozen=True)
class Report:
    """One row of the table."""

    network: str
    test_set: str
    protocol: str
    ranking: str
    flip: bool
    precision: str
    queries: int
    gallery: int
    skipped: int
    rank1: float
    rank5: float
    rank10: float
    mean_ap: float
    mean_ap_triangular: float
    mean_inp: float
    detection_rates: dict[str, float]
    """DIR by false alarm rate, each query once enrolled and once a stranger."""
    true_positive_rates: dict[str, float]
    """True positive rates of pairs across cameras, by false positive rate."""
    embed_seconds: float
    score_seconds: float

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(asdict(self), indent=1)

    def metrics(self) -> dict[str, float]:
        """Return the few numbers that a bundle keeps, by name."""
        place = f"{self.test_set}.{self.ranking}"
        return {
            f"{place}.rank1": round(self.rank1, 5),
            f"{place}.mAP": round(self.mean_ap, 5),
            **{f"{place}.DIR@FAR{rate}": round(value, 5) for rate, value in self.detection_rates.items()},
        }


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A report and the arrays that its plots are drawn from."""

    report: Report
    scores: Scores
    same: Floats
    """Squared distances of same-person pairs across cameras."""
    other: Floats
    """Squared distances of pairs of different persons."""


def evaluate(network: TrainedNetwork, tested: TestSet, rankings: list[Ranking], flip: bool = False) -> list[Evaluation]:
    """Embed once, measure every ranking."""
    start = time.perf_counter()
    vectors = network.embed(tested.images.pixels, flip)
    seconds = time.perf_counter() - start
    found = []
    for ranking in rankings:
        metric = folded(vectors, network.verifier) if ranking.startswith("verification") else vectors
        found.append(_measure(network, tested, metric, ranking, flip, seconds))
    return found


def _measure(
    network: TrainedNetwork, tested: TestSet, vectors: Floats, ranking: Ranking, flip: bool, embed_seconds: float
) -> Evaluation:
    query, gallery, labels = vectors[tested.query], vectors[tested.gallery], tested.labels
    start = time.perf_counter()
    blocks = [rerank(query, gallery)] if ranking.endswith("+rerank") else squared_distances(query, gallery)
    scores = score(blocks, labels)
    seconds = time.perf_counter() - start
    same, other = _pairs(query, gallery, labels)
    report = Report(
        network=network.name,
        test_set=tested.name,
        protocol=tested.protocol,
        ranking=ranking,
        flip=flip,
        precision=network.precision,
        queries=scores.queries,
        gallery=len(gallery),
        skipped=scores.skipped,
        rank1=float(scores.cmc[0]),
        rank5=float(scores.cmc[4]),
        rank10=float(scores.cmc[9]),
        mean_ap=scores.mean_ap,
        mean_ap_triangular=scores.mean_ap_triangular,
        mean_inp=scores.mean_inp,
        detection_rates={f"{rate:g}": detection_rate(scores, rate)[0] for rate in FALSE_ALARM_RATES},
        true_positive_rates={f"{rate:g}": true_positive_rate(-same, -other, rate) for rate in FALSE_POSITIVE_RATES},
        embed_seconds=round(embed_seconds, 3),
        score_seconds=round(seconds, 3),
    )
    return Evaluation(report, scores, same, other)


def _pairs(query: Floats, gallery: Floats, labels: RetrievalLabels) -> tuple[Floats, Floats]:
    rows = np.arange(len(query))
    if len(query) * len(gallery) > MAX_PAIRS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MAX_PAIRS // len(gallery), replace=False))
    chosen = RetrievalLabels(
        labels.query_persons[rows], labels.query_cameras[rows], labels.gallery_persons, labels.gallery_cameras
    )
    return pair_distances(squared_distances(query[rows], gallery), chosen)


def table(reports: list[Report]) -> Table:
    """Lay reports out for a terminal, in per cent."""
    figures = ("Rank-1", "Rank-5", "mAP", "mAP tri", "mINP", "DIR@1%", "DIR@0.1%", "TPR@1e-3", "TPR@1e-4")
    grid = Table("set", "ranking", box=None, pad_edge=False, header_style="bold")
    for figure in figures:
        grid.add_column(figure, justify="right")
    for report in reports:
        rates = [report.rank1, report.rank5, report.mean_ap, report.mean_ap_triangular, report.mean_inp]
        rates += [*report.detection_rates.values(), *list(report.true_positive_rates.values())[1:]]
        grid.add_row(Text(printable(report.test_set)), report.ranking, *(f"{100 * rate:.1f}" for rate in rates))
    return grid


def synthetic(queries: int = 3368, gallery: int = 19732, dim: int = 512) -> tuple[float, Scores]:
    """Time distances and scores at the size of the whole of Market-1501, on random vectors; return both."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(queries + gallery, dim)).astype(np.float32)
    persons, cameras = random.integers(0, 750, gallery), random.integers(0, 6, gallery)
    # Every query has a match of another camera, however small the gallery is.
    match = random.integers(0, gallery, queries)
    labels = RetrievalLabels(persons[match], (cameras[match] + 1) % 6, persons, cameras)
    start = time.perf_counter()
    scores = score(squared_distances(vectors[:queries], vectors[queries:]), labels)
    return time.perf_counter() - start, scores
