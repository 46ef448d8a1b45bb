"""What ``plan`` measures and how it adds up."""

import re

import numpy as np
import pytest
import yaml

from algorithms import ALGORITHMS
from algorithms.learner import Learner
from benchmark import files
from benchmark.commands import main
from benchmark.envs import spec_of
from benchmark.training import full_battles, plan
from benchmark.training.config import resolve_run
from benchmark.training.profiles import find_profile
from benchmark.training.replay import ReplayBuffer

STUDY = {
    "version": 2,
    "name": "made_up",
    "backend": "simulator",
    "protocol": "unified",
    "seeds": [0, 1, 2],
    "maps": ["3m", "8m"],
    "algorithms": ["qmix"],
    "set": {"budget": 500_000, "batch_size": 4, "replay_episodes": 16, "evaluation_episodes": 2},
}


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    return str(path)


def test_measures_before_there_are_results(study, capsys, tmp_path):
    assert main(["plan", study, "--cores", "2"]) == 0
    text = capsys.readouterr().out
    assert "6 runs, 3,000,000 env steps" in text
    assert re.search(r"3m +qmix +3 +500,000 +[\d,]+ +\S+ \w+ +\d", text)
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


def test_costs_follow_the_budget():
    short, long = (
        plan.measure(
            resolve_run(
                map="3m",
                algorithm="qmix",
                seed=0,
                overrides=[STUDY["set"] | {"budget": budget, "n_envs": 2}],
            ),
            seconds=0.2,
        )
        for budget in (100_000, 10_000_000)
    )
    assert 20 < long.seconds / short.seconds < 500  # 100, but measured shortly
    assert long.results > short.results + 1000 * 2 * 8  # its table has 2000 evaluation rows more
    assert short.memory > 50e6
    assert short.device_memory == 0 or short.device_memory > 1e6


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_measures_the_updates_after_pretraining(algorithm, monkeypatch):
    """With as many batches as the method draws."""
    updated = []
    descend = Learner.descend
    monkeypatch.setattr(
        Learner, "descend", lambda self, loss: (updated.append(self), descend(self, loss))
    )
    run = resolve_run(map="3m", algorithm=algorithm, seed=0, overrides=[STUDY["set"]])
    assert plan.measure(run, seconds=0.01).seconds > 0
    assert len(updated) >= 5  # two whose memory counts, one to warm up, two that are timed


@pytest.mark.parametrize(
    ("seconds", "measured"), [(0, [2, 2, 4]), (60, [2, 2, 4, 8, 16, 32])], ids=["some", "all"]
)
def test_memory_is_of_battles_that_last_to_the_limit(monkeypatch, seconds, measured):
    """And of whole batches of them, however few there was time for."""
    spec, sizes = spec_of("3m"), []

    def learn(learner, replay, rules, streams):
        batch = replay.sample(rules.batch_size, streams["replay"])
        assert batch.length.tolist() == [spec.episode_limit] * rules.batch_size
        sizes.append(rules.batch_size)

    monkeypatch.setattr(full_battles, "learn", learn)
    monkeypatch.setattr(full_battles, "_peaks", lambda _: np.array([1e9 + 2e7 * sizes[-1], 0]))
    run = resolve_run(map="3m", algorithm="qmix", seed=0)
    assert full_battles.peak_memory(run, spec, seconds) == (1e9 + 2e7 * 32, 0)
    assert sizes == measured


@pytest.mark.parametrize(("budget", "steps"), [(10**6, 16 * 60), (500, 500)])
def test_the_replay_buffer_is_of_battles_that_last_to_the_limit(monkeypatch, budget, steps):
    """Unless the budget has fewer steps."""
    assert spec_of("3m").episode_limit == 60
    one_byte_per_step = property(lambda buffer: sum(each.length for each in buffer._slots if each))
    monkeypatch.setattr(ReplayBuffer, "nbytes", one_byte_per_step)
    rules = STUDY["set"] | {"budget": budget}
    cost = plan.measure(resolve_run(map="3m", algorithm="qmix", seed=0, overrides=[rules]), 0.01)
    assert cost.replay == steps
    assert cost.memory > cost.replay


def test_totals(study, capsys, monkeypatch):
    """Known costs: two maps, one of which takes three times as long."""
    hours = {"3m": 1, "8m": 3}

    def measure_all(runs, side_by_side):
        for run in runs:
            yield run, plan.Cost(3600.0 * hours[run.map], 2e9, 0.0, 1e6, 5e9, 1e9)

    monkeypatch.setattr(plan, "measure_all", measure_all)
    assert main(["plan", study, "--cores", "2"]) == 0
    text = capsys.readouterr().out
    assert "12.0 run hours" in text  # 3 seeds x (1 h + 3 h)
    assert "about 6.0 h with 2 runs at a time" in text
    assert "up to 4.0 GB with 2 runs" in text
    assert "6 MB of results, and up to 10.0 GB of checkpoints" in text
    assert main(["plan", study, "--cores", "100"]) == 0
    assert "about 3.0 h with 6 runs at a time" in capsys.readouterr().out  # the longest run


def test_some_of_the_maps(study, capsys, monkeypatch):
    monkeypatch.setattr(
        plan, "measure_all", lambda runs, _: [(run, plan.Cost(36.0, 1, 0, 1, 1, 1)) for run in runs]
    )
    assert main(["plan", study, "--maps", "8m"]) == 0
    text = capsys.readouterr().out
    assert "3 runs, 1,500,000 env steps" in text
    assert "3m" not in text
    assert main(["plan", study, "--maps", "8m", "9m"]) == 2
    assert "--maps 9m: not in the study, which has 3m, 8m" in capsys.readouterr().err


def test_cores_must_be_positive(study, capsys):
    assert main(["plan", study, "--cores", "0"]) == 2
    assert "--cores 0" in capsys.readouterr().err


PROFILES = files.ROOT / "profiles"


@pytest.fixture
def known_costs(monkeypatch):
    """Every run takes 30 hours, 20 GB and a GPU that it does not fill."""

    def measure_all(runs, side_by_side):
        for run in runs:
            yield run, plan.Cost(30 * 3600.0, 20e9, 1e9, 1e6, 5e9, 4e9)

    monkeypatch.setattr(plan, "measure_all", measure_all)


def planned(study: str, capsys, *options: str) -> str:
    assert main(["plan", study, *options]) == 0
    return capsys.readouterr().out


def test_what_a_study_costs_on_a_cluster(study, capsys, known_costs):
    text = planned(study, capsys, "--profile", str(PROFILES / "slurm"))
    assert "profile slurm: 6 runs at a time" in text
    assert "180.0 GPU hours on up to 6 GPUs, 1 run(s) on each" in text
    assert "16.0 GB for a run, the largest takes 20.0 GB: too little, raise mem_mb" in text
    assert "24.0 h for a job; the longest run takes 2 of 21 attempts" in text
    assert "20.0 GB   4.0 GB" in re.sub(r" {2,}", "   ", text)
    assert "up to 20.0 GB with 1 run, here" in text  # every run has a node of its own
    assert "GPU     up to 1.0 GB with 1 run\n" in text
    assert "up to 30.0 GB of checkpoints while 6 runs are under way" in text
    assert "--cores" not in text


def test_runs_that_share_a_gpu(study, capsys, known_costs, tmp_path):
    text = planned(study, capsys, "--profile", str(PROFILES / "gpu"))
    at_a_time = min(plan._cores(), 5)
    assert f"profile gpu: {at_a_time} runs at a time" in text
    assert "36.0 GPU hours on up to 1 GPUs, 5 run(s) on each" in text
    values = yaml.safe_load((PROFILES / "slurm" / "profile.yaml").read_text())
    values["set-resources"]["train"] |= {"gres": "shard:1", "mem_mb": 20000, "runtime": 60}
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(values))
    text = planned(study, capsys, "--profile", str(tmp_path), "--runs-per-gpu", "4")
    assert "45.0 GPU hours on up to 2 GPUs, 4 run(s) on each" in text
    assert "too little" not in text
    assert "the longest run takes 30 of 21 attempts: too few, raise retries" in text


@pytest.mark.parametrize(
    ("gres", "hours"), [("gpu", 180), ("gpu:2", 360), ("gpu:a100", 180), ("gpu:a100:2", 360)]
)
def test_how_many_gpus_a_run_asks_for(study, capsys, known_costs, tmp_path, gres, hours):
    values = yaml.safe_load((PROFILES / "slurm" / "profile.yaml").read_text())
    values["set-resources"]["train"]["gres"] = gres
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(values))
    assert f"{hours}.0 GPU hours" in planned(study, capsys, "--profile", str(tmp_path))


@pytest.mark.parametrize("name", ["cpu", "gpu", "slurm"])
def test_profiles_as_snakemake_reads_them_too(tmp_path, name):
    """Under its older file name, with lists for tables."""
    values = yaml.safe_load((PROFILES / name / "profile.yaml").read_text())
    known = find_profile(str(PROFILES / name), cores=8)
    rules = values["set-resources"].items()
    values["set-resources"] = [
        f"{rule}:{key}={value}" for rule, needs in rules for key, value in needs.items()
    ]
    for table in ("resources", "default-resources"):
        values[table] = [f"{key}={value}" for key, value in values.get(table, {}).items()]
    folder = tmp_path / name
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    assert find_profile(str(folder), cores=8) == known


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"gres": "shard:1"}, [], "--runs-per-gpu"),
        ({}, ["--runs-per-gpu", "2"], "gres: shard:1 only"),
        ({"mem_mb": "8000 * attempt"}, [], "'8000 * attempt' is no whole number"),
        ({}, ["--cores", "2"], "no --cores"),
    ],
)
def test_profiles_that_cannot_be_planned_with(study, capsys, tmp_path, change, options, message):
    values = yaml.safe_load((PROFILES / "slurm" / "profile.yaml").read_text())
    values["set-resources"]["train"] |= change
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(values))
    assert main(["plan", study, "--profile", str(tmp_path), *options]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_runs_per_gpu_is_for_shards_only(study, capsys, name):
    options = ["--profile", str(PROFILES / name), "--runs-per-gpu", "2"]
    assert main(["plan", study, *options]) == 2
    assert "gres: shard:1 only" in capsys.readouterr().err


def test_a_wrong_profile_name_is_helped(study, capsys, monkeypatch):
    monkeypatch.chdir(files.ROOT)
    assert main(["plan", "smoke", "--profile", "slrm"]) == 2
    assert "unknown profile 'slrm'; did you mean slurm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "text"),
    [(999, "1 kB"), (12e6, "12 MB"), (3.44e9, "3.4 GB")],
)
def test_sizes(count, text):
    assert plan.size(count) == text
