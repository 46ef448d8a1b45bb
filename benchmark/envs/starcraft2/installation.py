"""Where StarCraft II and its Python packages are, which versions, and the limits they run under.

Nothing here starts the game. Settings that cannot change a result (limits of time and memory) are
environment variables, listed in ``Settings``, and not part of a run's configuration.
"""

import hashlib
import json
import os
from dataclasses import dataclass, fields
from importlib import metadata, util
from pathlib import Path
from typing import Any

from benchmark.envs.maps import Map
from benchmark.errors import BenchmarkError

#: Versions of the game with which SMAC results were published, and their builds.
BUILDS = {"4.10": 75689, "4.6.2": 69232}
EXECUTABLE = Path("Versions", "Base75689", "SC2_x64")  #: of 4.10, below the game's folder
MAP_FOLDER = Path("Maps", "SMAC_Maps")
FLAT_MAP = "32x32_flat"  #: the file behind all SMACv2 maps
STANDIN_MARK = "stand-in for StarCraft II"  #: in the stand-in's executable and its map files
INSTALL_SCRIPT = Path(__file__).with_name("install.sh")


def _map_files() -> dict[str, str]:
    lines = Path(__file__).with_name("maps.sha256").read_text().splitlines()
    return {name: digest for digest, name in map(str.split, lines)}


#: File name -> SHA-256 of the maps that are needed. smacv2's repository has them all, smac's lacks
#: SMACv2's own.
MAP_FILES = _map_files()


@dataclass(frozen=True)
class Package:
    """A client package, which no registry offers, as this benchmark was tested with it."""

    repository: str
    commit: str
    sha256: str  #: of its ``env/starcraft2/starcraft2.py``, which is nearly all that counts

    @property
    def command(self) -> str:
        """The command that installs it."""
        return f'pip install --no-deps "git+https://github.com/{self.repository}.git@{self.commit}"'


PACKAGES = {
    "smac": Package(
        "oxwhirl/smac",
        "d6aab33f76abc3849c50463a8592a84f59a5ef84",
        "98588e57372c1d551b3ab4a2618f97e0a4f4ba33aa6f5daff27fb153f362e5db",
    ),
    "smacv2": Package(
        "oxwhirl/smacv2",
        "577ab5a2cff2391f8df582da5731ea9cd6adf3c6",
        "b7d81ddd20d2213f5af5b00266210b46bb78b0bd6534eb6f6e2751d0600d53fa",
    ),
}


#: What the clients need besides themselves, in the versions that were tested. They are
#: installed without what they ask for: pysc2 would bring a dozen packages that nothing here needs.
LIBRARIES = {
    "pysc2": "4.0.0",
    "s2clientprotocol": "5.0.17.98310.0",
    "protobuf": "7.36.2",
    "websocket-client": "1.9.2",
    "absl-py": "2.5.1",
    "portpicker": "1.6.0",
}


@dataclass(frozen=True)
class Settings:
    """How the game is run. Each field is read from ``STARCRAFT2_`` and its name in capitals.

    Raises:
        BenchmarkError: a variable has no value of its kind.
    """

    version: str = "4.10"  #: of the game, one of ``BUILDS``; recorded with every result
    start_seconds: float = 180.0  #: until the game must have started and a battle begun
    reset_seconds: float = 60.0  #: until a battle must have begun in a game that runs
    step_seconds: float = 60.0  #: until an env step must be over
    memory_gb: float = 6.0  #: a game that takes more is replaced between two battles
    episodes: int = 1000  #: a game that played so many battles is replaced
    attempts: int = 4  #: starts in a row that may fail before the run gives up
    faults_per_hour: int = 60  #: of all battles of an env together, before the run gives up

    def __post_init__(self) -> None:
        if self.version not in BUILDS:
            raise BenchmarkError(
                f"STARCRAFT2_VERSION={self.version}: known versions are {', '.join(BUILDS)}"
            )
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, str) and not 0 < value <= 1e6:
                raise BenchmarkError(
                    f"{_variable(field.name)}={value}: must be above 0 and at most a million"
                )

    @classmethod
    def from_environment(cls) -> "Settings":
        """The defaults, changed by what environment variables say."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            text = os.environ.get(_variable(field.name))
            if text is None:
                continue
            try:
                kind: Any = field.type
                values[field.name] = kind(text)
            except ValueError:
                raise BenchmarkError(
                    f"{_variable(field.name)}={text!r}: expected a number, like {field.default}"
                ) from None
        return cls(**values)


def _variable(name: str) -> str:
    return f"STARCRAFT2_{name.upper()}"


def game_folder() -> Path:
    """The game's folder: ``$SC2PATH``, else ``~/StarCraftII``."""
    return Path(os.environ.get("SC2PATH") or "~/StarCraftII").expanduser()


def executable(folder: Path, version: str) -> Path:
    """Where a version's executable belongs."""
    return folder / "Versions" / f"Base{BUILDS[version]:05d}" / "SC2_x64"


def how_to_install(folder: Path, version: str) -> str:
    """The command, or what to do for a version that the installer does not bring."""
    if version == Settings.version:
        return f"python -m benchmark install-starcraft2 {folder}"
    source = "https://github.com/Blizzard/s2client-proto#linux-packages"
    return f"unpack Blizzard's Linux package {version} ({source}) so that {folder} is its folder"


def map_file(folder: Path, one: Map) -> Path:
    """Where a map's file belongs."""
    return folder / MAP_FOLDER / f"{FLAT_MAP if one.generated else one.name}.SC2Map"


def package_of(one: Map) -> str:
    """The client package that plays a map: smac or smacv2."""
    return "smacv2" if one.generated else "smac"


def package_problem(name: str) -> str:
    """Why a client package cannot be used, in one clause; empty if it can."""
    file = client_file(name)
    if file is None:
        return f"the package {name} is not installed"
    if not file.exists():
        return f"{file.parents[2]} is another package of the name {name}, not oxwhirl's"
    return ""


def client_file(name: str) -> Path | None:
    """Where a client package has its central file, if the package is oxwhirl's."""
    found = util.find_spec(name)
    if found is None:
        return None
    folders = found.submodule_search_locations or [str(Path(found.origin or ".").parent)]
    return Path(folders[0], "env", "starcraft2", "starcraft2.py")


def package_version(name: str) -> str:
    """A package's version, with the commit if pip installed it from a repository."""
    try:
        package = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return "missing"
    origin = json.loads(package.read_text("direct_url.json") or "{}")
    commit = origin.get("vcs_info", {}).get("commit_id", "")
    return f"{package.version}{'@' if commit else ''}{commit[:7]}"


def check(one: Map, settings: Settings) -> None:
    """Makes sure that a map can be played, as far as files tell.

    Raises:
        BenchmarkError: the game, the map or packages are missing; names the command that helps.
    """
    folder = game_folder()
    program = executable(folder, settings.version)
    if not program.is_file():
        raise BenchmarkError(
            f"StarCraft II {settings.version} is not at {program}; set SC2PATH to its folder, or"
            f" install it: {how_to_install(folder, settings.version)}"
        )
    if not os.access(program, os.X_OK):
        raise BenchmarkError(f"{program} is not executable; chmod +x {program}")
    file = map_file(folder, one)
    if not file.is_file():
        raise BenchmarkError(
            f"the map file {file} is missing; python -m benchmark install-starcraft2 {folder}"
            " --maps-only puts it there"
        )
    problems = [package_problem(package_of(one))]
    if missing := missing_libraries():
        problems.append(f"not installed: {', '.join(missing)}")
    if any(problems):
        raise BenchmarkError(
            f"{'; '.join(filter(None, problems))}; python -m benchmark doctor gives the commands,"
            " or take the environment of environment-starcraft2.yml"
        )


def missing_libraries() -> list[str]:
    """Those of ``LIBRARIES`` that are not installed, in any version."""
    return [name for name in LIBRARIES if not any(metadata.distributions(name=name))]


def is_standin(program: Path) -> bool:
    """Whether a game's executable is the stand-in."""
    with open(program, "rb") as file:
        return STANDIN_MARK.encode() in file.read(200)


def plays_standin(settings: Settings) -> bool:
    """Whether the stand-in takes the game's place."""
    return is_standin(executable(game_folder(), settings.version))


def describe(one: Map, settings: Settings) -> dict:
    """What decides a map's numbers on this machine: for the record of a run."""
    folder = game_folder()
    package = package_of(one)
    client = client_file(package)
    assert client is not None  # as ``check`` has found
    return {
        "game": settings.version,
        "build": BUILDS[settings.version],
        "standin": plays_standin(settings),
        "map_sha256": sha256(map_file(folder, one)),
        "client_sha256": sha256(client),
        "packages": {
            name: package_version(name)
            for name in (package, "pysc2", "s2clientprotocol", "protobuf", "websocket-client")
        },
    }


def sha256(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
