"""The rules of docs/architecture.md that a machine can check."""

import ast
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import acmehub
import acmehub.storage_api
from acmehub.cli.snippets import FOLDER

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "core" / "acmehub"
PLUGINS = ROOT / "plugins"
BUILT_IN = CORE / "plugins"
EXAMPLES = sorted(item.parent for item in (ROOT / "examples").glob("*/pyproject.toml"))
BIN = Path(sys.executable).parent
LONGEST = 400
PUBLIC = {"acmehub": acmehub.__all__, "acmehub.storage_api": acmehub.storage_api.__all__}
INDEX = re.compile(r"https://(pypi\.org/simple|files\.pythonhosted\.org/)")


def modules(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def product() -> list[Path]:
    return modules(CORE, PLUGINS)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def project(folder: Path) -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return found


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of each import of `acmehub`; name empty for `import acmehub...`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == "acmehub")
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "acmehub":
            yield from ((node.module or "", alias.name) for alias in node.names)


@cache
def declared_methods() -> frozenset[str]:
    """The methods that the product's Protocols declare and document."""
    return frozenset(
        item.name
        for path in product()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") == "Protocol" for base in node.bases)
        for item in node.body
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(item)
    )


def undocumented(path: Path) -> Iterator[str]:
    """Public modules, classes and functions of a file without a docstring; of the methods of public classes, those that
    override nothing and implement no method of a Protocol (they are documented where they are declared)."""
    tree = ast.parse(path.read_text())
    if not ast.get_docstring(tree) and tree.body:
        yield name_of(path)
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        if any(getattr(item, "id", getattr(item, "attr", "")) == "hookimpl" for item in node.decorator_list):
            continue  # documented in hookspecs
        if "migrations" in path.parts and isinstance(node, ast.ClassDef):
            continue  # a table as it was then
        if not ast.get_docstring(node):
            yield f"{name_of(path)}:{node.lineno} {node.name}"
        if isinstance(node, ast.ClassDef) and not node.bases:
            yield from (
                f"{name_of(path)}:{item.lineno} {node.name}.{item.name}"
                for item in node.body
                if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
                and not item.name.startswith(("_", "test_"))  # a test's name is its sentence
                and item.name not in declared_methods()
                and not ast.get_docstring(item)
            )


def test_no_room_is_longer_than_400_lines() -> None:
    long = {name_of(path): lines for path in product() if (lines := len(path.read_text().splitlines())) > LONGEST}
    assert long == {}


def test_no_module_is_named_utils_or_helpers() -> None:
    banned = {"utils", "util", "helpers", "helper", "misc", "common"}
    everywhere = modules(CORE, PLUGINS, ROOT / "tests", ROOT / "bench", ROOT / "scripts", ROOT / "examples")
    assert [name_of(path) for path in everywhere if banned & set(path.with_suffix("").parts[len(ROOT.parts) :])] == []


def test_public_names_have_docstrings() -> None:
    written = [path for path in product() if "migrations" not in path.parts]  # their tables are those of a day
    assert [line for path in written for line in undocumented(path)] == []


def test_nothing_is_left_to_do_later() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX)\b")
    assert [name_of(path) for path in product() if marks.search(path.read_text())] == []


@pytest.mark.parametrize(
    "folder",
    [*sorted(item.parent for item in PLUGINS.glob("*/pyproject.toml")), BUILT_IN, *EXAMPLES],
)
def test_a_plugin_imports_only_public_names(folder: Path) -> None:
    own = "acmehub.plugins"
    wrong = [
        f"{name_of(path)}: from {module} import {name}"
        for path in modules(folder)
        for module, name in imported(path)
        if not (module in PUBLIC and name in PUBLIC[module])
        and not (folder == BUILT_IN and module.startswith(own))
        and not ("tests" in path.parts and module.startswith("acmehub.testing"))
    ]
    assert wrong == []


def test_http_requests_go_through_the_public_client() -> None:
    """The core's rooms are import-linter's (`make lint`); this is about plugins and examples."""
    clients = {"aiohttp", "httpx", "requests", "urllib3"}
    found = [
        (name_of(path), alias)
        for path in modules(PLUGINS, *EXAMPLES)
        for node in ast.walk(ast.parse(path.read_text()))
        for alias in (
            [item.name for item in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        if alias.split(".")[0] in clients
    ]
    assert found == []


def test_every_public_name_can_be_imported() -> None:
    modules = (acmehub, acmehub.storage_api)
    assert [name for module in modules for name in module.__all__ if not hasattr(module, name)] == []


def test_the_storage_protocol_is_not_among_the_names_for_all_plugins() -> None:
    assert set(acmehub.__all__) & set(acmehub.storage_api.__all__) == set()


def test_one_folder_is_one_entry_point_one_distribution_one_extra() -> None:
    for folder in (item.parent for item in PLUGINS.glob("*/pyproject.toml")):
        meta = project(folder)
        assert meta["name"] == f"acmehub-{folder.name.replace('_', '-')}"
        assert meta["version"] == acmehub.__version__
        assert meta["entry-points"] == {"acmehub": {folder.name: f"acmehub_{folder.name}"}}
        assert (folder / f"acmehub_{folder.name}" / "__init__.py").exists()
        assert (folder / "README.md").read_text().strip()


def test_the_metadata_hook_knows_every_plugin() -> None:
    source = ast.parse((ROOT / "hatch_build.py").read_text())
    listed = next(
        ast.literal_eval(node.value)
        for node in source.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "PLUGINS"
    )
    assert set(listed) == {item.parent.name for item in PLUGINS.glob("*/pyproject.toml")}


def test_the_lock_file_names_no_index_but_pypi() -> None:
    text = (ROOT / "uv.lock").read_text()
    elsewhere = {url for url in re.findall(r"https?://[^\"\s]+", text) if not INDEX.match(url)}
    assert elsewhere == set()
    assert "file://" not in text
    assert re.search(r'(directory|path|editable) = "/', text) is None


def test_the_lock_file_is_up_to_date() -> None:
    done = subprocess.run([BIN / "uv", "lock", "--check", "--offline"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"uv.lock does not fit the pyproject files, run `uv lock`: {done.stderr}"


def test_release_wheels_carry_versions_and_no_file_url(tmp_path: Path) -> None:
    subprocess.run(
        [BIN / "uv", "build", "--quiet", "--all-packages", "--out-dir", tmp_path],
        cwd=ROOT,
        check=True,
        env={**os.environ, "ACMEHUB_RELEASE": "1"},
    )
    wheels = sorted(tmp_path.glob("*.whl"))
    assert len(wheels) == 1 + len(list(PLUGINS.glob("*/pyproject.toml")))
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            name = next(item for item in archive.namelist() if item.endswith("METADATA"))
            metadata = archive.read(name).decode()
            shipped = set(archive.namelist())
        assert "file:" not in metadata, wheel.name
        if wheel.name.startswith("acmehub-"):
            assert {f"acmehub/cli/clients/{item.name}" for item in FOLDER.iterdir()} <= shipped
            assert (
                f"Requires-Dist: acmehub-dns-cloudflare=={acmehub.__version__}; extra == 'dns-cloudflare'" in metadata
            )
            assert "Provides-Extra: all" in metadata
    with tarfile.open(next(tmp_path.glob("acmehub-*.tar.gz"))) as sdist:
        assert [name for name in sdist.getnames() if "/plugins/" in name and "/core/" not in name] == []


def test_the_layers_hold() -> None:
    done = subprocess.run([BIN / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_hooks_before_commit_reach_no_network() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"repo: *(\S+)", text) == ["local"]
    assert set(re.findall(r"language: *(\S+)", text)) == {"system"}
