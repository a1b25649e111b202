"""Environment variables that child processes inherit (pure).

The daemon's environment may hold passwords. A child gets the variables that libraries need, none that may be a secret.
"""

import re
from collections.abc import Collection, Mapping

_NAMES = frozenset({"HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "TERM", "TMPDIR", "TZ", "USER"})
_PREFIXES = (
    "CUDA_", "KMP_", "LC_", "LD_", "LIBVA_", "MALLOC_", "MKL_", "NVIDIA_", "OMP_", "ONNX", "OPENBLAS_", "OPENVINO_",
    "OV_", "PYTHON", "REID_STREAM_", "SSL_CERT_", "TORCH", "XDG_", "YOLO_",
)  # fmt: skip
_SECRET = re.compile(r"pass|pwd|secret|token|credential|apikey|api_key|_key$|auth", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\{(\w+)")


def child_environment(environ: Mapping[str, str], also: Collection[str] = ()) -> dict[str, str]:
    """Return the variables that a child process gets: known ones whose name and value do not look like a secret.

    Args:
        environ: of this process.
        also: names of further variables that the child needs, secret or not.
    """
    return {
        name: value
        for name, value in environ.items()
        if name in also
        or ((name in _NAMES or name.startswith(_PREFIXES)) and not _SECRET.search(name) and "://" not in value)
    }


def referenced(text: str) -> set[str]:
    """Return the names of the variables in a cams.yaml: `${NAME}` and `${NAME:-default}`."""
    return set(_REFERENCE.findall(text))
