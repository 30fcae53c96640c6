"""Plugins as distributions in a folder, without installing anything."""

import sys
import textwrap
from pathlib import Path


def install_plugin(
    folder: Path, name: str, source: str, *, distribution: str = "", module: str = "", group: str = "acmehub"
) -> None:
    """Put a plugin, as a distribution of its own, into a folder of `sys.path`."""
    distribution = distribution or f"third-{name.replace('_', '-')}"
    module = module or f"plugin_{distribution.replace('-', '_')}"
    (folder / f"{module}.py").write_text(textwrap.dedent(source))
    info = folder / f"{distribution.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\nSummary: a test\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n")
    sys.modules.pop(module, None)
