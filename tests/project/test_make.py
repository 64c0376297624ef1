"""The Makefile's choice of an interpreter, with uv and interpreters that only say what they are asked for."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def interpreter(tmp_path):
    def choose(*, optimized: bool = True, new: bool = True, system: bool = True, wish: str = "") -> str:
        """What `make interpreter` prints; uv finds an interpreter of which `optimized` says how it was built."""
        found = program(tmp_path / "found", f"exit {int(not optimized)}")
        known = program(tmp_path / "system", f"exit {int(not new)}") if system else tmp_path / "missing"
        uv = program(tmp_path / "uv", f"echo {found}")
        environment = {name: value for name, value in os.environ.items() if name != "UV_PYTHON"}
        if wish:
            environment["UV_PYTHON"] = wish
        printed = subprocess.run(
            ["make", "--silent", "interpreter", f"UV={uv}", f"SYSTEM_PYTHON={known}"],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=30,
        ).stdout.strip()  # fmt: skip
        return printed.removeprefix(f"{tmp_path}/")

    return choose


def test_an_interpreter_with_optimizations_is_taken(interpreter):
    assert interpreter() == "found"


def test_the_systems_interpreter_goes_before_one_without_optimizations(interpreter):
    assert interpreter(optimized=False) == "system"


@pytest.mark.parametrize("system", [{"new": False}, {"system": False}], ids=["old", "none"])
def test_one_without_optimizations_is_better_than_none_or_an_old_one(interpreter, system):
    assert interpreter(optimized=False, **system) == "found"


def test_who_names_an_interpreter_gets_it(interpreter):
    assert interpreter(optimized=False, wish="3.13") == "3.13"


def test_without_any_interpreter_uv_looks_for_one_itself():
    printed = subprocess.run(
        ["make", "--silent", "interpreter", f"UV={shutil.which('false')}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    assert printed == ""


@pytest.mark.parametrize(
    ("arguments", "optimized"),
    [("'--enable-optimizations' '--with-lto'", True), ("'--prefix=/usr/local'", False), (None, False)],
)
def test_what_says_that_an_interpreter_is_optimized(tmp_path, arguments, optimized):
    """The Makefile's question, asked of this interpreter with another record of how it was built."""
    lines = (ROOT / "Makefile").read_text().splitlines()
    question = next(line for line in lines if line.startswith("IS_OPTIMIZED")).partition(":= ")[2]
    built = f"import sysconfig; sysconfig.get_config_vars()['CONFIG_ARGS'] = {arguments!r}; {question}"
    assert (subprocess.run([sys.executable, "-c", built], check=False, timeout=30).returncode == 0) is optimized


def test_every_interpreter_gets_the_same_pages_of_the_admin():
    """Of a package that has left our oldest Python behind, uv locks two versions."""
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    assert len([package for package in packages if package["name"] == "django-unfold"]) == 1
