"""`make audit`: known vulnerabilities of what uv.lock names, by pip-audit, which asks PyPI's advisory service.

Exit status: 0 nothing is known; 1 something is; 2 the service did not answer, so that nothing is said.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

VERSION = "2.10.1"
FOLDER = Path(".run/audit")  # an environment of its own: the tool is no dependency of the product
EXPORT = ("export", "--quiet", "--frozen", "--all-packages", "--no-emit-workspace", "--format", "requirements.txt")


def main() -> int:
    """Audit; the exit status."""
    if not (FOLDER / "bin" / "pip-audit").exists():
        print(f"acmehub: installing pip-audit {VERSION} from PyPI into {FOLDER}", flush=True)
        subprocess.run(["scripts/venv", sys.executable, str(FOLDER)], check=True)
        tool = f"pip-audit=={VERSION}"
        subprocess.run([FOLDER / "bin" / "python", "-m", "pip", "install", "--quiet", tool], check=True)
    with TemporaryDirectory() as folder:
        locked = Path(folder) / "requirements.txt"
        subprocess.run([Path(sys.executable).with_name("uv"), *EXPORT, "-o", locked], check=True)
        tool_path = FOLDER / "bin" / "pip-audit"
        command: list[str | Path] = [tool_path, "--requirement", locked, "--disable-pip", "--no-deps"]
        done = subprocess.run(
            [*command, "--format", "json", "--progress-spinner", "off"], capture_output=True, text=True, check=False
        )
    if not done.stdout.strip():
        print(*done.stderr.strip().splitlines()[-1:])
        return said([])
    return said(json.loads(done.stdout)["dependencies"])


def said(packages: Sequence[dict[str, Any]]) -> int:
    """Print what pip-audit found (the `dependencies` of its JSON); the exit status."""
    asked = [item for item in packages if "skip_reason" not in item]
    for item in asked:
        for flaw in item["vulns"]:
            fixed = ", ".join(flaw["fix_versions"]) or "no version"
            print(f"{item['name']} {item['version']}: {flaw['id']}, fixed in {fixed}")
    if any(item["vulns"] for item in asked):
        return 1
    if not packages or len(asked) < len(packages):
        print(
            f"acmehub: NOT AUDITED: PyPI's advisory service (https://pypi.org/pypi/NAME/VERSION/json) answered for "
            f"{len(asked)} of {len(packages)} packages. This is no statement that they are sound: run `make audit` "
            "where the service can be reached."
        )
        return 2
    print(f"acmehub: {len(packages)} packages of uv.lock, no known vulnerability")
    return 0


if __name__ == "__main__":
    sys.exit(main())
