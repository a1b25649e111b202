"""Write a software bill of materials (CycloneDX 1.6 JSON) and a licence report of what the daemon installs.

    python deploy/sbom.py [--out build/sbom]

Components are the packages of requirements/base.txt as they are installed in the environment that runs this, the native
libraries that their wheels contain, and the models that ship with the package. Nothing is fetched. Ends with 1 where a
package has no licence that is known to be compatible; `ALLOWED` lists those that are.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ALLOWED = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0"),
    *("PSF-2.0", "Python-2.0", "Unlicense", "Zlib"),
}
"""SPDX identifiers of permissive licences, and of one whose copyleft ends at the file."""
_CLASSIFIERS = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "License :: OSI Approved :: Python Software Foundation License": "PSF-2.0",
}
_FIELDS = {"3-Clause BSD License": "BSD-3-Clause"}
"""Licences of packages that have a field `License` alone, by its text."""
_NATIVE = {
    r"lib(avcodec|avdevice|avfilter|avformat|avutil|swresample|swscale)": "LGPL-3.0-or-later",
    r"libx26[45]": "GPL-2.0-or-later",
    r"lib(gmp|nettle|hogweed|gnutls|unistring|asound|mp3lame)": "LGPL-2.1-or-later",
    r"libquadmath": "LGPL-2.1-or-later",
    r"libgfortran": "GPL-3.0-or-later WITH GCC-exception-3.1",
}
"""Licences of native libraries with a copyleft, by file name; the others are under their package's notices."""
_MODELS = {"AGPL-3.0": "AGPL-3.0-only", "Research only": "LicenseRef-Research-Only"}


def main() -> int:
    """Write `sbom.cdx.json` and `licences.md`; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "sbom", help="Folder of the two files.")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    bom = installed()
    pinned = set(re.findall(r"(?m)^([a-z0-9][a-z0-9._-]*)==", (ROOT / "requirements/base.txt").read_text("utf-8")))
    packages = [component for component in bom["components"] if normal(component["name"]) in pinned]
    extra = [*native_libraries(packages), *models()]
    bom["components"] = [*packages, *extra]
    known = {component["bom-ref"] for component in [*bom["components"], bom["metadata"]["component"]]}
    bom["dependencies"] = [
        {"ref": one["ref"], "dependsOn": [ref for ref in one.get("dependsOn", ()) if ref in known]}
        for one in bom["dependencies"]
        if one["ref"] in known
    ]
    (out / "sbom.cdx.json").write_text(json.dumps(bom, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    unknown = [
        component for component in packages if not set(licences(component)) <= ALLOWED or not licences(component)
    ]
    (out / "licences.md").write_text(report(packages, extra, unknown), encoding="utf-8")
    print(f"sbom: {len(packages)} packages, {len(extra)} native libraries and models; {out}/sbom.cdx.json, licences.md")
    for component in unknown:
        print(f"sbom: {component['name']} {component['version']}: licence {expression(component)} is not in ALLOWED")
    return 1 if unknown else 0


def installed() -> dict[str, Any]:
    """Return the bill of materials of this environment."""
    command = [
        sys.executable,
        "-m",
        "cyclonedx_py",
        "environment",
        sys.executable,
        "--pyproject",
        str(ROOT / "pyproject.toml"),
    ]
    options = ["--output-reproducible", "--output-format", "JSON", "--no-validate", "-o", "-"]
    done = subprocess.run([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    for component in found["components"]:
        if not component.get("licenses"):
            field = str((metadata.metadata(component["name"]).get_all("License") or [""])[0]).strip()
            component["licenses"] = [{"license": {"id": _FIELDS[field]}}] if field in _FIELDS else []
    return found


def normal(name: str) -> str:
    """Return a package's name as requirements have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licences(component: dict[str, Any]) -> list[str]:
    """Return the SPDX identifiers of a component, alternatives and parts alike; other words as they are.

    Of plain alternatives, such as `EPL-2.0 OR BSD-3-Clause`, those in `ALLOWED` are taken where there are any.
    """
    found = []
    for entry in component.get("licenses", ()):
        licence = entry.get("license", {})
        text = entry.get("expression") or licence.get("id") or licence.get("name", "")
        if text.startswith("declared license"):
            continue  # the text of a licence whose name is another entry
        text = _CLASSIFIERS.get(text, text).replace("(", "").replace(")", "")
        parts = re.split(r" AND | OR ", text)
        chosen = [part for part in parts if part in ALLOWED] if " AND " not in text else []
        found += chosen or parts
    return list(dict.fromkeys(found))


def expression(component: dict[str, Any]) -> str:
    """Return a component's licence as it is shown."""
    entries = component.get("licenses", ())
    return next(
        (entry["expression"] for entry in entries if "expression" in entry), " ".join(licences(component)) or "?"
    )


def native_libraries(packages: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the shared libraries beside the packages (`<package>.libs`, by auditwheel), with hashes."""
    site = Path(sysconfig.get_path("platlib"))
    for package in packages:
        folder = site / f"{metadata.distribution(package['name']).metadata['Name'].replace('-', '_')}.libs"
        for file in sorted(folder.glob("*.so*")):
            name, _, rest = file.name.partition("-")
            licence = next((spdx for known, spdx in _NATIVE.items() if re.match(known, file.name)), None)
            yield {
                "bom-ref": f"{package['name']}/{file.name}",
                "type": "library",
                "name": name.partition(".so")[0],
                "version": rest.partition(".so.")[2] or package["version"],
                "description": f"in the wheel of {package['name']}",
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}],
                **({"licenses": [{"expression": licence}]} if licence is not None else {}),
            }


def models() -> Iterator[dict[str, Any]]:
    """Yield the bundles that ship with the package."""
    for file in sorted((ROOT / "reid_stream/models").glob("*/bundle.json")):
        bundle = json.loads(file.read_text("utf-8"))
        weights = file.with_name("model.onnx")
        yield {
            "bom-ref": f"model/{bundle['name']}",
            "type": "machine-learning-model",
            "name": bundle["name"],
            "version": bundle["hash"][:12],
            "description": f"{bundle['kind']}; {bundle['licence']}",
            "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(weights.read_bytes()).hexdigest()}],
            "licenses": [{"expression": _MODELS[bundle["licence"].partition(":")[0]]}],
        }


def report(packages: list[dict[str, Any]], extra: list[dict[str, Any]], unknown: list[dict[str, Any]]) -> str:
    """Return the licence report: obligations of a distributor first, then everything."""
    lines = ["# Licences of what the daemon installs", "", "Code: Apache-2.0. Versions: requirements/base.txt.", ""]
    lines += ["## Needs attention when passed on", "", "| component | in | licence |", "| --- | --- | --- |"]
    lines += [
        f"| {one['name']} {one['version']} | {one['description']} | {expression(one)} |"
        for one in extra
        if one.get("licenses")
    ]
    lines += [f"| {one['name']} {one['version']} | | {expression(one)}, not reviewed |" for one in unknown]
    lines += ["", "## Packages", "", "| package | version | licence |", "| --- | --- | --- |"]
    lines += [f"| {one['name']} | {one['version']} | {expression(one)} |" for one in packages]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
