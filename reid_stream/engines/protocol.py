"""The one thing a network must be able to do, whichever library runs it.

An engine is built once from a model file and called with numpy arrays. It knows nothing of people: shapes in, shapes out.
Engines are called from one thread at a time.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Engine(Protocol):
    """Run one network."""

    @property
    def name(self) -> str:
        """Library, device and precision, for logs and metrics: `openvino cpu bf16`."""
        ...

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """What the network takes, (b, c, h, w); None where any size is taken."""
        ...

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """What the network gives; None where the size follows the input."""
        ...

    def __call__(self, batch: Floats) -> Floats:
        """Run a batch (b, c, h, w) float32 and return its first output, float32, b rows, owned by the caller.

        Raises:
            ModelError: the batch does not fit the network, or the library refused it.
        """
        ...
