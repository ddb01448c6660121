"""What an installation of a wheel downloads here, and whether other systems have what it needs.

    python tools/installs.py dist/lt_onnx-0.1.0-py3-none-any.whl

Asks the package index that pip is set to. pip reads a requirement's markers as they are here, so
those of other systems are chosen first.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from email import message_from_bytes
from pathlib import Path

from packaging.requirements import Requirement

SYSTEMS = {
    "macosx_14_0_arm64": {"sys_platform": "darwin", "platform_machine": "arm64"},
    "win_amd64": {"sys_platform": "win32", "platform_machine": "AMD64"},
}
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def requirements(wheel: Path, system: dict[str, str]) -> list[str]:
    """What the wheel needs on a system, without extras."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("METADATA"))
        stated = message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
    parsed = [Requirement(text) for text in stated]
    where = {**system, "extra": ""}
    needed = [r for r in parsed if r.marker is None or r.marker.evaluate(where)]
    return [f"{r.name}{r.specifier}" for r in needed]


def main() -> int:
    """Print bytes and packages; 1 where a system lacks something."""
    wheel = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        words = ["download", "--only-binary=:all:", "-d", folder, str(wheel)]
        done = subprocess.run([*PIP, *words]).returncode
        sizes = [path.stat().st_size for path in Path(folder).iterdir()]
        print(f"here: {len(sizes)} packages, {sum(sizes) / 1e6:.0f} MB")
        for system, machine in SYSTEMS.items():
            report = Path(folder) / "report.json"
            words = ["install", "--dry-run", "--only-binary=:all:", "--report", str(report)]
            words += ["--target", folder, "--platform", system, "--python-version", "3.11"]
            found = subprocess.run([*PIP, *words, *requirements(wheel, machine)]).returncode
            count = len(json.loads(report.read_text())["install"]) if not found else 0
            print(f"{system}: {f'{count} packages' if count else 'cannot be installed'}")
            done |= found
    return done


if __name__ == "__main__":
    sys.exit(main())
