"""Lists what is installed: the Python packages of each kernel and virtual environment, and Debian's packages.

Runs in images that have no Springtide, by its text (``python3 -c``), so it imports the standard library only and takes
any Python since 3.8.
"""

import json
import re
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

KERNELS = ("opt/*/share/jupyter/kernels/*/kernel.json", "usr/share/jupyter/kernels/*/kernel.json",
           "usr/local/share/jupyter/kernels/*/kernel.json")  # fmt: skip
ENVIRONMENTS = ("opt/*/pyvenv.cfg", "opt/*/*/pyvenv.cfg", "opt/*/conda-meta", "opt/*/envs/*/conda-meta")
SITES = ("lib/python3*/site-packages", "lib/python3*/dist-packages", "lib/python3/dist-packages")
SYSTEM = "system"
UNKNOWN_LICENCE = "unknown"


def inventory(root: str = "/") -> "dict[str, dict]":  # type: ignore[type-arg]
    """Return ``{"python": {place: {name: [version, licence]}}, "debian": {name: version}}``."""
    python = {name: packages for name, packages in map(_named, _prefixes(Path(root))) if packages}
    system = [site for prefix in ("usr/local", "usr") for site in _sites(Path(root, prefix))]
    if packages := _packages(system):
        python[SYSTEM] = packages
    return {"python": dict(sorted(python.items())), "debian": _debian(Path(root))}


def _prefixes(root: Path) -> "list[Path]":
    """Return the folders of all Python environments but the system's."""
    found = {file.parent for pattern in ENVIRONMENTS for file in root.glob(pattern)}
    for file in (file for pattern in KERNELS for file in root.glob(pattern)):
        try:
            python = Path(json.loads(file.read_text(encoding="utf-8"))["argv"][0])
        except (OSError, ValueError, LookupError, TypeError):
            continue  # not a kernelspec
        if python.is_absolute() and len(python.parts) > 3:
            found.add(root / python.parent.parent.relative_to("/"))
    # Where no image is: the Python that runs this.
    if sys.prefix != sys.base_prefix and str(root) == "/":
        found.add(Path(sys.prefix))
    return sorted(found - {root / "usr", root / "usr/local"})


def _named(prefix: Path) -> "tuple[str, dict]":  # type: ignore[type-arg]
    return prefix.name, _packages(_sites(prefix))


def _sites(prefix: Path) -> "list[str]":
    return [str(site) for pattern in SITES for site in sorted(prefix.glob(pattern))]


def _packages(sites: "list[str]") -> "dict[str, list[str]]":
    found: dict[str, list[str]] = {}
    for one in distributions(path=sites):
        name = one.metadata["Name"] if one.metadata else None
        if name:
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), [one.version, _licence(one)])
    return dict(sorted(found.items()))


def _licence(one: Distribution) -> str:
    """Return a package's licence in a few words: its SPDX expression, else what older packages say."""
    said: dict[str, str] = {
        name: str((one.metadata.get_all(name) or [""])[0]) for name in ("License-Expression", "License")
    }
    if said["License-Expression"]:
        return said["License-Expression"]
    classifiers = one.metadata.get_all("Classifier") or []
    licences = [text.rpartition("::")[2].strip() for text in classifiers if text.startswith("License ::")]
    if licences := [text for text in licences if text != "OSI Approved"]:
        return ", ".join(licences)
    words = said["License"].strip().splitlines()
    return words[0][:60] if words else UNKNOWN_LICENCE


def _debian(root: Path) -> "dict[str, str]":
    try:
        text = (root / "var/lib/dpkg/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    found = {}
    for entry in text.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version): (.*)$", entry, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            found[fields["Package"]] = fields.get("Version", "")
    return dict(sorted(found.items()))


if __name__ == "__main__":
    print(json.dumps(inventory()))
