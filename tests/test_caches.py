"""A read-only checkout and home folder: libraries get a temporary folder for what they keep."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import caches, files

VARIABLES = ["NUMBA_CACHE_DIR", "MPLCONFIGDIR", "TRITON_CACHE_DIR"]


@pytest.fixture
def read_only(monkeypatch):
    """Of root, too, a file is no folder to write to."""
    monkeypatch.setattr(caches, "_SOURCES", ["/dev/null/checkout"])
    monkeypatch.setenv("HOME", "/dev/null")
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "SLURM_JOB_ID", *VARIABLES):
        monkeypatch.setenv(name, "")  # so that it comes back
        monkeypatch.delenv(name)


def test_caches_go_to_a_private_folder(read_only, capsys):
    caches.provide()
    folders = {Path(os.environ[name]).parent for name in VARIABLES}
    (folder,) = folders
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert all(word in line for word in [str(folder), *VARIABLES])
    caches.provide()  # in a process that this one starts
    assert capsys.readouterr().err == ""


def test_a_variable_may_name_a_read_only_folder_too(read_only, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    monkeypatch.setenv("TRITON_CACHE_DIR", "/dev/null/triton")
    caches.provide()
    assert os.environ["MPLCONFIGDIR"] == str(tmp_path)
    assert Path(os.environ["TRITON_CACHE_DIR"]).parent.name.startswith("r3dm-benchmark-")
    assert "MPLCONFIGDIR" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "lacking"),
    [("HOME", []), ("XDG_CACHE_HOME", ["MPLCONFIGDIR", "TRITON_CACHE_DIR"])],
)
def test_folders_that_can_be_written_stay(read_only, monkeypatch, capsys, tmp_path, place, lacking):
    monkeypatch.setenv(place, str(tmp_path / "not" / "yet"))
    caches.provide()
    assert [name for name in VARIABLES if name in os.environ] == lacking
    assert len(capsys.readouterr().err.splitlines()) == bool(lacking)
    assert not list(tmp_path.iterdir())


def test_nodes_of_slurm_share_compiled_functions_with_their_own_type_only(monkeypatch, tmp_path):
    folders = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    for flags in ("sse2 avx2", "sse2 avx2 avx512f", "sse2 avx2"):
        (tmp_path / "cpuinfo").write_text(f"model name\t: some\ncpu MHz\t: 2\nflags\t: {flags}\n\n")
        monkeypatch.setattr(caches, "_CPUINFO", str(tmp_path / "cpuinfo"))
        monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
        caches.provide()
        folders.append(os.environ["NUMBA_CACHE_DIR"])
    assert folders[0] == folders[2] != folders[1]
    assert Path(folders[0]).is_relative_to(tmp_path / "r3dm-benchmark")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "own"))
    caches.provide()
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / "own")


def test_a_command_in_a_read_only_checkout(tmp_path):
    """Finds the runs of a study, which imports compiled functions, with one line on stderr."""
    root = files.ROOT
    mount = f"mount --bind {root} {root} && mount -o remount,ro,bind {root}"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("cannot mount anything here")
    env = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    env |= {"HOME": "/dev/null", "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    command = f"{sys.executable} -m benchmark status {root}/config/smoke.yaml"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{mount} && {command}"],
        **{"cwd": tmp_path, "env": env, "capture_output": True, "text": True},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "NUMBA_CACHE_DIR" in done.stderr
