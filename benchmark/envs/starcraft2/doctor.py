"""Checks what StarCraft II needs, and names the command that fixes what is wrong.

Files and versions first; if nothing is missing, the game is started through both clients, and plays
one step on a map of each.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmark.envs import make
from benchmark.envs.starcraft2.installation import (
    BUILDS,
    LIBRARIES,
    MAP_FILES,
    MAP_FOLDER,
    PACKAGES,
    Settings,
    client_file,
    executable,
    game_folder,
    how_to_install,
    is_standin,
    missing_libraries,
    package_problem,
    sha256,
)
from benchmark.envs.starcraft2.worker import sweep
from benchmark.errors import BenchmarkError

GOOD, NOTE, BAD = "ok", "note", "fix"

_TRIALS = ("3m", "protoss_5_vs_5")  #: a map of each client


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    state: str  #: GOOD, NOTE (works, but know this) or BAD
    subject: str
    text: str
    remedy: str = ""  #: the command that fixes it


def examine(start: bool = True) -> Iterator[Finding]:
    """Checks one thing after another.

    Args:
        start: whether to start the game if nothing is missing.
    """
    settings = Settings.from_environment()
    folder = game_folder()
    missing = False
    for finding in chain(
        _game(folder, settings), _maps(folder, settings), _clients(), _libraries(),
        _memory(settings), _leftovers(),
    ):  # fmt: skip
        missing |= finding.state == BAD
        yield finding
    if start and not missing:
        yield from map(_trial, _TRIALS)


def _game(folder: Path, settings: Settings) -> Iterator[Finding]:
    install = how_to_install(folder, settings.version)
    if not folder.is_dir():
        text = f"there is no folder {folder}; if the game is elsewhere, set SC2PATH"
        yield Finding(BAD, "game", text, install)
        return
    versions = folder / "Versions"
    found = sorted(versions.glob("Base*"))
    for path in found:
        if not path.name[4:].isdigit():
            text = f"pysc2 cannot read the folder name {path}"
            yield Finding(BAD, "game", text, f"mv {path} {folder}")
    program = executable(folder, settings.version)
    if not program.is_file():
        there = ", ".join(path.name for path in found) or "none"
        others = [name for name in BUILDS if executable(folder, name).parent in found]
        if others:
            install = f"export STARCRAFT2_VERSION={others[0]}  # results name it; or: {install}"
        yield Finding(
            BAD, "game", f"{settings.version} is not in {versions} (there: {there})", install
        )
    elif not os.access(program, os.X_OK):
        yield Finding(BAD, "game", f"{program} is not executable", f"chmod +x {program}")
    elif is_standin(program):
        yield Finding(NOTE, "game", f"{program} is the stand-in, not StarCraft II")
    else:
        yield Finding(GOOD, "game", f"StarCraft II {settings.version} in {folder}")
        yield from _shared_libraries(program, folder)


def _shared_libraries(program: Path, folder: Path) -> Iterator[Finding]:
    """Which libraries the loader would not find."""
    if shutil.which("ldd") is None:
        return
    path = f"{os.environ.get('LD_LIBRARY_PATH', '')}:{folder / 'Libs'}"
    environment = os.environ | {"LD_LIBRARY_PATH": path}
    output = subprocess.run(["ldd", str(program)], capture_output=True, text=True, env=environment)
    lost = re.findall(r"^\s*(\S+) => not found|version `(\S+)' not found", output.stdout, re.M)
    if lost:
        names = ", ".join(sorted({library or version for library, version in lost}))
        yield Finding(
            BAD, "game", f"the system lacks {names} (needed by {program.name})",
            "install it with the system's package manager; for GLIBC take a newer system",
        )  # fmt: skip


def _maps(folder: Path, settings: Settings) -> Iterator[Finding]:
    program = executable(folder, settings.version)
    maps = folder / MAP_FOLDER
    install = f"python -m benchmark install-starcraft2 {folder} --maps-only"
    absent = [name for name in MAP_FILES if not (maps / name).is_file()]
    if absent:
        yield Finding(BAD, "maps", f"{maps} lacks {', '.join(absent)}", install)
    elif program.is_file() and is_standin(program):
        yield Finding(NOTE, "maps", "placeholders of the stand-in")
    else:
        changed = [
            name for name, digest in MAP_FILES.items()
            if sha256(maps / name) != digest
        ]  # fmt: skip
        if changed:
            yield Finding(
                BAD, "maps", f"not the known ones: {', '.join(changed)} in {maps}", install
            )
        else:
            yield Finding(GOOD, "maps", f"all {len(MAP_FILES)} in {maps}")


def _clients() -> Iterator[Finding]:
    for name, package in PACKAGES.items():
        problem, client = package_problem(name), client_file(name)
        if client is not None and not problem:
            if sha256(client) == package.sha256:
                yield Finding(GOOD, name, f"oxwhirl's, commit {package.commit[:7]}")
            else:
                text = "oxwhirl's, but not the commit that this benchmark was tested with"
                yield Finding(NOTE, name, text, package.command)
        elif "another package" in problem:
            yield Finding(
                BAD, name, f"{problem}; PyPI's package of this name optimises hyper-parameters",
                f"pip uninstall -y {name} && {package.command}",
            )  # fmt: skip
        else:
            yield Finding(BAD, name, problem, package.command)


def _libraries() -> Iterator[Finding]:
    """All that are missing together, with one command; then those that are there."""
    if missing := missing_libraries():
        pins = " ".join(f"{name}=={LIBRARIES[name]}" for name in missing)
        text = f"not installed: {', '.join(missing)}"
        yield Finding(BAD, "libraries", text, f"pip install --no-deps {pins}")
    for name, tested in LIBRARIES.items():
        if name not in missing and name != "protobuf":
            version = metadata.version(name)
            text = version if version == tested else f"{version} (tested with {tested})"
            yield Finding(GOOD, name, text)
    if "protobuf" not in missing:
        yield _protobuf()


def _protobuf() -> Finding:
    from google.protobuf.internal import api_implementation

    version, kind = metadata.version("protobuf"), api_implementation.Type()
    if kind != "python":
        return Finding(GOOD, "protobuf", f"{version} ({kind})")
    return Finding(
        NOTE, "protobuf",
        f"{version}, in pure Python: a large battle's observation takes 2 ms to parse instead of"
        " 0.01. Newer ones are fast here, though pip says that they do not suit smac",
        f"pip install --no-deps protobuf=={LIBRARIES['protobuf']}",
    )  # fmt: skip


def _memory(settings: Settings) -> Iterator[Finding]:
    free = psutil.virtual_memory().available / 2**30
    games = int(free // settings.memory_gb)
    limit = f"STARCRAFT2_MEMORY_GB={settings.memory_gb:g}"
    text = f"{free:.1f} GB free, enough for {games} games of the size at which {limit} ends them"
    yield Finding(GOOD if games >= 8 else NOTE, "memory", text)


def _leftovers() -> Iterator[Finding]:
    if swept := sweep():
        yield Finding(NOTE, "leftovers", f"{swept} games of killed runs were ended just now")


def _trial(name: str) -> Finding:
    """Starts the game and plays a step."""
    env: Any = None  # a StarCraft2, which says more than an Env
    try:
        env = make(name, 1, "starcraft2")
        seen = env.reset(np.zeros(1, np.uint64))
        done = env.step(seen.available.argmax(-1))
        if done.aborted[0]:
            raise BenchmarkError(next(iter(env.faults)))
        text = f"the game started and played a step; it calls itself {env.game_version()}"
        return Finding(GOOD, name, text)
    except BenchmarkError as error:
        command = f"STARCRAFT2_ATTEMPTS=1 {sys.executable} -m benchmark watch --backend starcraft2"
        return Finding(BAD, name, str(error), f"{command} --map {name}")
    finally:
        if env is not None:
            env.close()
