"""The migrated database that test runs keep is made anew whenever what it is made of changes."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.databases import ROOT, fingerprint, sources


def imported(path: Path) -> Iterator[str]:
    """Modules of ours that it names in imports, in functions as well, or as text that is imported by."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            yield node.value


def file_of(name: str) -> Path | None:
    """Of a module, or of the module that has a name in it."""
    place = ROOT.joinpath(*name.split("."))
    for base in (place, place.parent):
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
    return None


def test_what_migrations_import_is_part_of_it():
    migrations = sorted(ROOT.glob("apps/*/migrations/0*.py"))
    known, missing = set(sources()), set()
    for path in migrations:
        names = {name for name in imported(path) if name.startswith(("apps.", "everquant."))}
        files = {file for name in names if (file := file_of(name)) and file.read_bytes().strip()}
        missing |= ({path} | files) - known
    assert len(migrations) > 60
    assert missing == set()


def test_a_change_of_a_source_has_another_name(tmp_path):
    path = tmp_path / "apps" / "prompts" / "migrations" / "0001_initial.py"
    path.parent.mkdir(parents=True)
    names = set()
    for text in ("a = 1", "a = 2"):
        path.write_text(text)
        assert sources(tmp_path) == [path]
        names.add(fingerprint([path]))
    assert len(names) == 2
    assert fingerprint([path]) in names
