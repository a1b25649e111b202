"""Find the installed TensorRT: `tensorrt` (any GPU, builds on it) or `tensorrt_rtx` (builds without one).

Looking is cheap where there is no NVIDIA driver: nothing heavy is imported then.
"""

import ctypes
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from reid_stream.errors import ModelError

Name = Literal["tensorrt", "tensorrt_rtx"]
Precision = Literal["f32", "f16", "bf16"]
"""Precisions in which a GPU computes."""
RTX_ARCHS = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_120", "sm_121")
"""Architectures that `tensorrt_rtx` knows by name (1.7, `ComputeCapability`)."""
_DRIVER = ("/dev/nvidiactl", "/dev/dxg", "/dev/nvhost-gpu")
"""Device files of the driver on Linux, WSL and Jetson."""
_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR (cuda.h)."""


@dataclass(frozen=True, slots=True)
class TensorRtLibrary:
    """A TensorRT that is installed."""

    name: Name
    version: str

    @property
    def label(self) -> str:
        """`tensorrt_rtx 1.7.1.116`."""
        return f"{self.name} {self.version}"

    def builds(self, arch: str, gpu: str | None) -> bool:
        """Can it build for `arch` (`sm_86`) on a machine whose GPU is `gpu`, none for no GPU?"""
        return arch in RTX_ARCHS if self.name == "tensorrt_rtx" else arch == gpu


def gpu_arch() -> str | None:
    """Return the architecture of this machine's first NVIDIA GPU, `sm_86`; none where there is no GPU to use."""
    if not any(Path(device).exists() for device in _DRIVER):
        return None
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, numbers = ctypes.c_int(), (ctypes.c_int(), ctypes.c_int())
    if driver.cuInit(0) != 0 or driver.cuDeviceGet(ctypes.byref(device), 0) != 0:
        return None
    for number, attribute in zip(numbers, (_MAJOR, _MINOR), strict=True):
        if driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device) != 0:
            return None
    return f"sm_{numbers[0].value}{numbers[1].value}"


def libraries() -> tuple[TensorRtLibrary, ...]:
    """Return what is installed, nothing imported."""
    found = []
    for name in ("tensorrt", "tensorrt_rtx"):
        if find_spec(name) is not None:
            found.append(TensorRtLibrary(name, _version(name)))
    return tuple(found)


def library_for(arch: str, gpu: str | None) -> TensorRtLibrary:
    """Return the library that builds for `arch`.

    Raises:
        ModelError: none is installed that can.
    """
    found = libraries()
    for library in found:
        if library.builds(arch, gpu):
            return library
    names = ", ".join(library.label for library in found) or "none"
    known = ", ".join(RTX_ARCHS)
    raise ModelError(
        f"an engine for {arch} must be built by tensorrt on such a GPU (this machine has {gpu or 'none'}) or by "
        f"tensorrt_rtx, which knows {known}; installed: {names}; pip install 'reid-stream[gpu]' or 'reid-stream[rtx]'"
    )


def _version(name: str) -> str:
    for suffix in ("", "-cu13", "-cu12", "-cu11"):
        try:
            return version(name.replace("_", "-") + suffix)
        except PackageNotFoundError:
            continue
    return "unknown"
