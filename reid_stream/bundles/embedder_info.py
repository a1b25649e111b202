"""The part of an embedder bundle that matching needs (pure)."""

from dataclasses import dataclass

from reid_stream.bundles.bundle import Calibration, EmbedderBundle, Verifier


@dataclass(frozen=True, slots=True)
class EmbedderInfo:
    """Identity of an embedder and the meaning of its vectors."""

    model: str
    """Hash of the bundle; only vectors of this model are compared."""
    verifier: Verifier | None
    """Verification head; None scores by cosine."""
    calibration: Calibration | None
    """Calibration of the verification head; None where the bundle has none."""
    dim: int | None
    """Length of a vector; None accepts the length of the first one."""

    @classmethod
    def of(cls, bundle: EmbedderBundle) -> "EmbedderInfo":
        """Return the information of a bundle."""
        return cls(bundle.hash, bundle.verifier, bundle.calibrated, bundle.dim)
