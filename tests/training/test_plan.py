"""What ``plan`` measures and how it adds up."""

import re

import numpy as np
import pytest
import yaml

from algorithms import ALGORITHMS
from algorithms.learner import Learner
from benchmark.amounts import size
from benchmark.commands import main
from benchmark.envs import spec_of
from benchmark.training import plan
from benchmark.training.config import resolve_run
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
    assert main(["plan", study, "--at-a-time", "2"]) == 0
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
    step = Learner.optimizer_step
    monkeypatch.setattr(
        Learner, "optimizer_step", lambda self, loss: (updated.append(self), step(self, loss))
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

    monkeypatch.setattr(plan, "learn", learn)
    monkeypatch.setattr(plan, "_peaks", lambda _: np.array([1e9 + 2e7 * sizes[-1], 0]))
    run = resolve_run(map="3m", algorithm="qmix", seed=0)
    assert plan.peak_memory(run, spec, seconds).tolist() == [1e9 + 2e7 * 32, 0]
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

    def measure_all(runs, *_):
        for run in runs:
            yield run, plan.Cost(3600.0 * hours[run.map], 2e9, 0.0, 1e6, 5e9, 1e9)

    monkeypatch.setattr(plan, "measure_all", measure_all)
    assert main(["plan", study, "--at-a-time", "2"]) == 0
    text = capsys.readouterr().out
    assert "12.0 run hours" in text  # 3 seeds x (1 h + 3 h)
    assert "about 6.0 h with 2 runs at a time" in text
    assert "up to 2.0 GB for a run, 4.0 GB with 2 runs;" in text
    assert "6 MB of results, and up to 10.0 GB of checkpoints" in text
    assert main(["plan", study, "--at-a-time", "100"]) == 0
    assert "about 3.0 h with 6 runs at a time" in capsys.readouterr().out  # the longest run


def test_some_of_the_maps(study, capsys, monkeypatch):
    cost = plan.Cost(36.0, 1, 0, 1, 1, 1)
    monkeypatch.setattr(plan, "measure_all", lambda runs, *_: [(run, cost) for run in runs])
    assert main(["plan", study, "--maps", "8m"]) == 0
    text = capsys.readouterr().out
    assert "3 runs, 1,500,000 env steps" in text
    assert "3m" not in text
    assert main(["plan", study, "--maps", "8m", "9m"]) == 2
    assert "--maps 9m: not in the study, which has 3m, 8m" in capsys.readouterr().err


def test_numbers_must_be_positive(study, capsys):
    assert main(["plan", study, "--at-a-time", "0"]) == 2
    assert "--at-a-time 0" in capsys.readouterr().err


@pytest.fixture
def known_costs(monkeypatch):
    """Every run takes 30 hours, 20 GB and a GPU that it does not fill."""
    cost = plan.Cost(30 * 3600.0, 20e9, 1e9, 1e6, 5e9, 4e9)
    monkeypatch.setattr(plan, "measure_all", lambda runs, *_: [(run, cost) for run in runs])


def test_what_a_study_costs_on_a_cluster(study, capsys, known_costs):
    assert main(["plan", study, "--at-a-time", "20", "--share", "1"]) == 0
    text = capsys.readouterr().out
    assert "180.0 GPU hours on 6 GPUs with 1 run on each" in text
    assert "up to 20.0 GB for a run, 20.0 GB with 1 run;" in text  # every run has its own node
    assert "up to 30.0 GB of checkpoints while 6 runs are under way" in text


def test_runs_that_share_a_gpu(study, capsys, known_costs, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "Some GPU")
    assert main(["plan", study, "--at-a-time", "5", "--share", "4"]) == 0
    text = capsys.readouterr().out
    assert "45.0 GPU hours on 2 GPUs with 4 runs on each" in text
    assert "up to 4.0 GB on the GPU with 4 runs" in text
    assert "measured on Some GPU, " in text


@pytest.mark.parametrize(
    ("count", "text"),
    [(999, "1 kB"), (12e6, "12 MB"), (3.44e9, "3.4 GB")],
)
def test_sizes(count, text):
    assert size(count) == text
