"""Networks that `reid-stream models add` knows: files, checksums, licences, official addresses.

Checksums are of the publisher's release and of conversions seen elsewhere; any of them is accepted. Addresses and
checksums of Open Model Zoo are those of its `models/intel/*/model.yml` (openvinotoolkit/open_model_zoo).
"""

from dataclasses import dataclass, field
from typing import Literal

from reid_stream.bundles.bundle import Calibration
from reid_stream.errors import ConfigError


@dataclass(frozen=True, slots=True)
class KnownFile:
    """One file of a network."""

    name: str
    sha256: tuple[str, ...]
    """Accepted checksums, in hexadecimal."""


@dataclass(frozen=True, slots=True)
class KnownNetwork:
    """A network that can be downloaded and wrapped without options."""

    name: str
    kind: Literal["detector", "embedder"]
    files: tuple[KnownFile, ...]
    """The first one is wrapped; an OpenVINO IR has two."""
    licence: str
    """Licence of the weights."""
    data: tuple[str, ...]
    """Training data, as published."""
    url: str | None
    """Official folder of the files, which ends with `/`; none where no official one is known."""
    aliases: tuple[str, ...] = ()
    options: dict[str, object] = field(default_factory=dict)
    """Arguments for `wrap_embedder` or `wrap_detector`."""
    calibration: Calibration | None = None
    """Calibration of an embedder, measured on people outside its training data."""


_RATES = [0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003]


def _measured(slope: float, intercept: float, log_odds: list[float], people: str) -> Calibration:
    return Calibration(
        kind="platt",
        parameters={"slope": slope, "intercept": intercept},
        at_precision="bf16",
        fitted_on=people,
        stranger_rates=_RATES,
        stranger_log_odds=log_odds,
    )


_OMZ = "https://storage.openvinotoolkit.org/repositories/open_model_zoo/"
_OMZ_DATA = ("Market-1501", "MSMT17", "data that is not public")
NETWORKS = (
    KnownNetwork(
        name="person-reidentification-retail-0277",
        kind="embedder",
        files=(
            KnownFile(
                "person-reidentification-retail-0277.xml",
                (
                    "cc7612d775eef845ae28e1723f9ffe816da1d0d6a0e700882837f798e1949df6",
                    "82039b1bb986231c50345550e59def94e63579998e9cddbd1a312f293eb87729",
                ),
            ),
            KnownFile(
                "person-reidentification-retail-0277.bin",
                (
                    "105f5897019274c6373c00ecaee2f2cbbb6f7e9cc8e371796536fc95bd1a1167",
                    "6bb69e09d07733cc3896b29081d2627f92db7b9aacd50f1a8c3df491cb10f1b7",
                ),
            ),
        ),
        licence="Apache-2.0 (Intel, Open Model Zoo)",
        data=_OMZ_DATA,
        url="https://download.01.org/opencv/2021/openvinotoolkit/2021.1/open_model_zoo/models_bin/2/"
        "person-reidentification-retail-0277/FP16/",
        aliases=("retail-0277",),
        calibration=_measured(
            1.1359,
            5.3626,
            [-1.953, -0.049, 1.724, 3.527, 6.249, 9.316, 11.83],
            "CUHK03, camera pairs 4 and 5: 107 persons",
        ),
    ),
    KnownNetwork(
        name="person-reidentification-retail-0287",
        kind="embedder",
        files=(
            KnownFile(
                "person-reidentification-retail-0287.xml",
                (
                    "1b9a34caecea292e855b69010b1611c4fa0fd0d57290e829725bbddfcc8040b1",
                    "95125bc630208d9a27370b11bd04d220f93f64b60fe4be5bc576e9aebb69603d",
                ),
            ),
            KnownFile(
                "person-reidentification-retail-0287.bin",
                (
                    "72fcb96efd983a928d847caf0c5877ba95c139d4c93c2819b9c6269466f8ed71",
                    "8811b3db2f6ebacbf2c05510593783316026ff779d9b048b6ca2581f17baf86c",
                ),
            ),
        ),
        licence="Apache-2.0 (Intel, Open Model Zoo)",
        data=_OMZ_DATA,
        url=f"{_OMZ}2021.2/models_bin/3/person-reidentification-retail-0287/FP16/",
        aliases=("retail-0287",),
        calibration=_measured(
            1.1449,
            6.1245,
            [-1.525, 0.453, 2.292, 4.159, 6.465, 8.495, 11.254],
            "CUHK03, camera pairs 4 and 5: 107 persons",
        ),
    ),
    KnownNetwork(
        name="osnet_x0_25_msmt17",
        kind="embedder",
        files=(
            KnownFile("osnet_x0_25_msmt17.onnx", ("61b2604171ef9d58d21758626f83b35a253c3d7123976523a6e03068c3c95d7b",)),
        ),
        licence="research only: learned from MSMT17, whose terms allow research only (the code is MIT)",
        data=("MSMT17",),
        url=None,
        aliases=("osnet",),
        calibration=_measured(
            1.1647,
            -1.8056,
            [-1.16, 0.66, 2.32, 3.565, 4.7, 5.373, 6.19],
            "CUHK03, camera pairs 4 and 5: 107 persons; Market-1501: 60 persons",
        ),
    ),
    KnownNetwork(
        name="yolox_nano",
        kind="detector",
        files=(
            KnownFile(
                "yolox_nano.onnx",
                (
                    "c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d",
                    "e8af074932d4ed7e232278e3055cefcdea3edf178874a3694ae292649fb464dd",
                ),
            ),
        ),
        licence="Apache-2.0 (Megvii, YOLOX)",
        data=("COCO 2017",),
        url="https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/",
        aliases=("yolox",),
    ),
)
PERMISSIVE = {
    "detector": ("yolox_nano",),
    "embedder": ("person-reidentification-retail-0287", "person-reidentification-retail-0277"),
}
"""Bundles that `models: permissive` takes, the first one that was added; 0287 costs a third of 0277 per crop."""


def known_network(name: str) -> KnownNetwork:
    """Return the network of a name or an alias.

    Raises:
        ConfigError: there is none.
    """
    for network in NETWORKS:
        if name in (network.name, *network.aliases):
            return network
    names = ", ".join("/".join((network.name, *network.aliases)) for network in NETWORKS)
    raise ConfigError(f"`models add` must name one of {names}, got {name!r}; wrap any other with `models wrap`")
