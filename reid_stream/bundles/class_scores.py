"""Tell the class scores of a classifier from the vector of an embedder (pure).

Re-ID networks are trained as classifiers of the people in a training set; exported whole, they give one score for each
of those instead of a vector that describes anyone.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

_NAMES = frozenset(
    {"logits", "logit", "scores", "score", "probs", "prob", "probabilities", "cls_score", "class_scores"}
)
_KNOWN = {751: "Market-1501", 702: "DukeMTMC-reID", 1041: "MSMT17", 767: "CUHK03", 1000: "ImageNet"}
"""Classes of usual training sets: people, of ImageNet kinds of things."""
_SLACK = 1e-3


def class_scores_reason(vector: npt.NDArray[np.float32], names: Iterable[str]) -> str | None:
    """Return why an answer must be class scores; None where it may be an embedding.

    Args:
        vector: (1, d), for any image.
        names: of the output.

    >>> class_scores_reason(np.array([[0.2, 0.7, 0.1]], np.float32), ["output"])
    'its 3 numbers add up to 1'
    """
    size = vector.shape[1]
    if size == 1:
        return "it is a single number"
    if named := [name for name in names if name.lower() in _NAMES]:
        return f"it is called {named[0]}"
    if vector.min() >= 0 and abs(float(vector.sum()) - 1) < _SLACK:
        return f"its {size} numbers add up to 1"
    if size in _KNOWN:
        return f"it has {size} numbers, as many as {_KNOWN[size]} has classes"
    return None
