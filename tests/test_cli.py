"""The command line on bad input: one clear line on stderr, exit code 2, nothing lost."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys

import pytest
import yaml

from benchmark.commands import COMMANDS, main
from benchmark.envs.scripted import POLICIES
from benchmark.training.evaluations import write_evaluations
from tests.analysis import synthetic
from tests.training import small

TRAIN = ["train", "--map", "3m", "--algorithm", "qmix"]
STUDY = small.STUDY | {"name": "synthetic", "maps": ["3m"]}


def complaint(capsys, *arguments) -> str:
    """Runs a command that must fail, and returns its one line."""
    assert main([str(each) for each in arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert "usage: python -m benchmark" in capsys.readouterr().out


def test_an_unknown_command(capsys):
    with pytest.raises(SystemExit) as end:
        main(["trian"])
    assert end.value.code == 2
    assert "invalid choice: 'trian'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--map", "3n"], ["unknown map '3n'", "3m"]),
        (["--algorithm", "qmx"], ["unknown algorithm 'qmx'", "qmix"]),
        (["--backend", "sc3"], ["unknown backend 'sc3'"]),
        (["--protocol", "fair"], ["unknown protocol 'fair'"]),
        (["--device", "gpu"], ["unknown device 'gpu'", "auto, cpu, cuda"]),
        (["--set", "budgt=5"], ["unknown key 'budgt'", "budget"]),
        (["--set", "budget"], ["--set budget", "KEY=VALUE"]),
        (["--set", "budget=9", "n_envs=x"], ["n_envs", "'x'"]),
        (["--set", "budget=many"], ["budget", "'many'"]),
        (["--set", "budget=[1"], ["--set budget=[1", "YAML"]),
        (["--set", "protocol=released"], ["one protocol"]),
        (["--seed", "-1"], ["seed", "greater than or equal to 0"]),
        (["--config", "no_such_file.yaml"], ["no_such_file.yaml", "No such file"]),
    ],
)
def test_train(arguments, words, capsys, tmp_path):
    line = complaint(capsys, *TRAIN, "--output", tmp_path / "run", *arguments)
    for word in words:
        assert word in line
    assert not (tmp_path / "run").exists()


def test_train_shows_every_setting_and_its_source(capsys, tmp_path, monkeypatch):
    far = {"algorithm": "r3dm", "name": "far", "maps": ["6h_vs_8z"], "set": {"horizon": 3}}
    (tmp_path / "study.yaml").write_text(
        yaml.safe_dump(
            STUDY
            | {"protocol": "released", "maps": ["6h_vs_8z"], "algorithms": ["r3dm"]}
            | {"set": {"evaluation_interval": 5000}, "per_map": {"6h_vs_8z": {"gamma": 0.9}}}
            | {"per_algorithm": {"r3dm": {"hidden_size": 32}}}
            | {"variants": [far]}
        )
    )
    (tmp_path / "more.yaml").write_text("epsilon_steps: 7\n")
    monkeypatch.chdir(tmp_path)
    run = ["train", "--map", "6h_vs_8z", "--algorithm", "r3dm", "--study", "study.yaml"]
    own = ["--variant", "far", "--config", "more.yaml", "--set", "budget=99"]
    assert main([*run, *own, "--show"]) == 0
    lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    shown = {words[0]: words[1:] for words in lines if len(words) == 3}
    expected = {
        "n_envs": ["1", "protocol released"],
        "batch_size": ["64", "rule of the map"],
        "clusters": ["3", "default of the method"],
        "reward_win": ["200.0", "default of the env"],
        "beta3": ["1.0", "released for the map"],
        "imagination_end": ["batch", "released by the method's authors"],
        "evaluation_interval": ["5000", "synthetic, set"],
        "gamma": ["0.9", "synthetic, per_map"],
        "hidden_size": ["32", "synthetic, per_algorithm"],
        "horizon": ["3", "synthetic, variant"],
        "epsilon_steps": ["7", "--config more.yaml"],
        "budget": ["99", "--set"],
    }
    assert {key: [word.strip() for word in shown[key]] for key in expected} == expected
    assert not (tmp_path / "results").exists()
    line = complaint(capsys, *run, "--variant", "fat", "--show")
    assert "synthetic: unknown variant 'fat'; did you mean far" in line


@pytest.mark.parametrize(
    "other", [("--seed", "99"), ("--map", "8m"), ("--variant", "far", "--map", "3m")]
)
def test_train_refuses_runs_that_the_study_does_not_have(capsys, tmp_path, monkeypatch, other):
    far = {"algorithm": "qmix", "name": "far", "maps": ["5m_vs_6m"], "set": {"gamma": 0.9}}
    study = STUDY | {"maps": ["3m", "5m_vs_6m"], "algorithms": ["qmix"], "variants": [far]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    monkeypatch.chdir(tmp_path)
    run = ["train", "--algorithm", "qmix", "--map", "3m", "--study", "study.yaml", "--show"]
    assert main([*run]) == 0
    capsys.readouterr()
    assert "has no run runs/simulator/" in complaint(capsys, *run, *other)
    assert main([*run, *other, "--output", "elsewhere"]) == 0


def test_a_run_with_settings_of_its_own_says_that_it_leaves_the_study(
    capsys, tmp_path, monkeypatch, caplog
):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("benchmark.training.train.train", lambda *given, **more: None)
    run = ["train", "--algorithm", "qmix", "--map", "3m", "--study", "study.yaml"]
    with caplog.at_level("INFO", logger="benchmark"):
        assert main(run) == 0
        assert not caplog.messages
        assert main([*run, "--set", "budget=99"]) == 0
    assert caplog.messages == [
        "with settings of its own it is no run of the study; it goes to"
        " results/adhoc/runs/simulator/3m/qmix/default/0"
    ]


def test_the_command_line_starts_without_heavy_imports():
    """So that help takes well under a second."""
    heavy = ("torch", "numba", "pandas", "pyarrow", "matplotlib", "snakemake", "sklearn", "seaborn")
    code = (
        "import sys; from benchmark.commands import COMMANDS, main\n"
        "for command in COMMANDS:\n"
        "    try: main([command, '--help'])\n"
        "    except SystemExit: pass\n"
        f"    print(*(name for name in {heavy} if name in sys.modules), end='', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_help_of_watch_names_every_scripted_policy(capsys):
    with pytest.raises(SystemExit):
        main(["watch", "--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in POLICIES)


def test_a_nul_in_an_argument(capsys):
    for arguments in (["status", "a\0b"], [*TRAIN, "--output", "a\0b"]):
        assert "NUL" in complaint(capsys, *arguments)


def test_train_without_a_map(capsys):
    assert "--map" in complaint(capsys, "train", "--algorithm", "qmix")


def test_an_unwritable_results_folder(capsys, tmp_path):
    """A file where the folder should be; root may write to any folder."""
    (tmp_path / "file").write_text("precious")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        line = complaint(capsys, *TRAIN, "--output", folder)
        assert str(tmp_path / "file") in line
        assert "choose another folder" in line
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_results_folder(capsys, tmp_path):
    tmp_path.chmod(0o500)
    assert "Permission denied" in complaint(capsys, *TRAIN, "--output", tmp_path / "run")


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Two finished runs and the table that was once made of them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    folder = tmp_path / "results" / "synthetic"
    for seed in (0, 1):
        run = folder / "runs/simulator/3m/qmix/default" / str(seed)
        synthetic.save(synthetic.run("3m", "qmix", seed), run)
    write_evaluations(synthetic.run("3m", "qmix", 0), folder / "evaluations.parquet")
    return folder


def test_a_table_without_a_column(tmp_path, capsys):
    """Without runs.json, whose digest would tell that it was changed."""
    path = tmp_path / "evaluations.parquet"
    synthetic.run("3m", "qmix", 1).drop(columns="return").to_parquet(path)
    line = complaint(capsys, "statistics", tmp_path)
    assert f"{path} lacks the column" in line
    assert "return" in line


@pytest.mark.parametrize("command", ["status", "plan"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"maps": ["3n"]}, ["study.yaml", "unknown map '3n'"]),
        ({"map": ["3m"]}, ["study.yaml", "unknown key 'map'", "maps"]),
    ],
)
def test_a_mistake_in_a_study(results, capsys, command, change, words):
    (results.parent.parent / "study.yaml").write_text(yaml.safe_dump(STUDY | change))
    line = complaint(capsys, command, "study.yaml")
    for word in words:
        assert word in line


def test_the_version_names_the_commit(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert re.match(r"r3dm-benchmark \d+\.\d+\.\d+", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("shell", "start"),
    [
        ("bash --norc --noprofile", "source ./script; PS1=rea''dy"),
        ("zsh -f", 'autoload -Uz compinit; compinit -D; eval "$(cat script)"; PS1=rea""dy'),
        ("tcsh -f", "source ./script; set prompt=rea''dy"),
    ],
)
def test_a_shell_completes_commands_names_and_files(shell, start, capsys, tmp_path, monkeypatch):
    name = shell.split()[0]
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    with pytest.raises(SystemExit) as end:
        main(["--print-completion", name])
    assert end.value.code == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "my_study.yaml").touch()
    monkeypatch.chdir(tmp_path)
    terminal, other_end = pty.openpty()
    monkeypatch.setenv("TERM", "vt100" if name == "tcsh" else "dumb")
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), other_end)
    process = subprocess.Popen(shell.split(), **streams, preexec_fn=lambda: os.login_tty(other_end))

    def say(text: str, answer: str) -> None:
        os.write(terminal, text.encode())
        heard = ""
        while answer not in heard:
            assert select.select([terminal], [], [], 20)[0], heard
            heard += os.read(terminal, 10_000).decode()

    try:
        say(f"{start}\n", "ready")
        say("r3dm-bench stati\t", "statistics")
        say("\x15r3dm-bench train --map 3s5z_v\t", "3s5z_vs_3s6z")
        say("\x15r3dm-bench status my_s\t", "my_study.yaml")
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
        os.close(other_end)


@pytest.mark.parametrize("seconds", ["nan", "inf", "-3"])
def test_time_between_checkpoints_is_a_positive_number(seconds, capsys):
    with pytest.raises(SystemExit):
        main(["train", "--checkpoint-seconds", seconds])
    assert "finite, positive number of seconds" in capsys.readouterr().err


def test_outside_its_environment_a_command_says_what_to_activate(monkeypatch, capsys):
    monkeypatch.setattr(
        "benchmark.commands._parser", lambda first: (_ for _ in ()).throw(missing("torch"))
    )
    assert main(["status"]) == 2
    assert "torch is not installed for" in (said := capsys.readouterr().err)
    assert "source .venv/bin/activate" in said
    assert said.count("\n") == 1


def missing(name: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(f"No module named {name!r}", name=name)
