"""What the tests of the StarCraft II backend share.

Those that need the real clients are skipped without them; what the clients said when they were last
asked is in ``tests/fixtures/parity`` and is checked everywhere.
"""

from importlib.util import find_spec

import pytest

from benchmark.envs.starcraft2.installation import PACKAGES, package_problem


def _missing() -> str:
    for name in ("google.protobuf", "s2clientprotocol", "websockets"):
        try:
            found = find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            return f"{name} is not installed (pip install -e '.[standin]')"
    return ""


def _clients_missing() -> str:
    for name in ("smac", "smacv2"):
        if problem := package_problem(name):
            return f"{problem} ({PACKAGES[name].command})"
    return "pysc2 is not installed" if find_spec("pysc2") is None else _missing()


def pytest_collection_modifyitems(items):
    """Skips tests marked ``protocol`` or ``clients`` where their packages are missing."""
    for mark, reason in (("protocol", _missing()), ("clients", _clients_missing())):
        for item in items:
            if reason and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def game(tmp_path, monkeypatch):
    """A function that sets up the stand-in with some peculiarities and points SC2PATH at it."""
    from benchmark.envs.starcraft2.standin.install import install

    def set_up(**peculiarities):
        folder = tmp_path / "StarCraftII"
        install(folder, **peculiarities)
        monkeypatch.setenv("SC2PATH", str(folder))
        return folder

    return set_up
