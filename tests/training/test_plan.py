"""What ``plan`` measures and how it adds up."""

import dataclasses
import re
from collections import Counter
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from algorithms import ALGORITHMS
from algorithms.learner import Learner
from benchmark import files
from benchmark.amounts import size
from benchmark.commands import main
from benchmark.envs import spec_of
from benchmark.errors import BenchmarkError
from benchmark.training import measure, plan
from benchmark.training.config import resolve_run
from tests.training import small

COSTS = {"budget": 500_000, "batch_size": 4, "replay_episodes": 16, "evaluation_episodes": 2}
STUDY = small.STUDY | {"seeds": [0, 1, 2], "set": COSTS}


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    return str(path)


def test_measures_before_there_are_results(study, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.commands.plan._SECONDS", 0.1)
    assert main(["plan", study, "--maps", "3m", "--at-a-time", "1"]) == 0
    text = capsys.readouterr().out
    assert "3 runs, 1,500,000 env steps" in text
    assert re.search(r"3m +qmix +3 +500,000 +\*?[\d,]+ +\S+ \w+ +\d", text)
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


def run_of(algorithm="qmix", **changes):
    return resolve_run(map="3m", algorithm=algorithm, seed=0, overrides=[STUDY["set"] | changes])


MEASURED = measure.Measured(
    env_step=1e-3,
    update=0.1,
    due=2.0,
    pretraining={"embedding_pretraining": 0.2, "contrastive_pretraining": 0.3},
    evaluation_step=1e-4,
    length=50.0,
    memory=1e9,
    device_memory=0.0,
    replayed_step=100.0,
    policy=1e6,
    state=2e6,
    took=1.0,
    busy=False,
    when="2026-11-27T12:00:00+00:00",
)


def test_the_whole_run():
    """10,000 battles of 50 steps, the first three without update; 51 evaluations and one."""
    run = run_of(n_envs=1)
    cost = plan.project(run, MEASURED)
    assert cost.collecting == pytest.approx(500_000 * 1e-3)
    assert plan.updates(run, MEASURED) == 10_000 - 3
    assert cost.learning == pytest.approx((10_000 - 3) * (0.1 + 2.0 / 200))  # targets move then
    assert cost.evaluating == pytest.approx((51 * 2 + 320) * 50 * 1e-4)
    assert cost.seconds == pytest.approx(sum([cost.collecting, cost.learning, cost.evaluating]))
    assert cost.results == 1e6 + (51 * 2 + 320) * 13
    assert cost.replay == 16 * 60 * 100  # battles of 3m end at 60 steps
    assert cost.memory == 1e9 + cost.replay
    assert cost.checkpoints == cost.replay + 2 * 3e6
    assert plan.project(run_of(n_envs=1, budget=500), MEASURED).replay == 500 * 100


@pytest.mark.parametrize(("budget", "first", "second"), [(500_000, 120, 100), (8150, 120, 40)])
def test_updates_before_the_first_td_update(budget, first, second):
    run = run_of("acorm", n_envs=1, budget=budget)
    others = plan.updates(run, MEASURED) - first - second
    assert others == pytest.approx(max(0, budget / 50 - 3 - 220))
    seconds = first * 0.2 + second * 0.3 + others * (0.1 + 2.0 / 100)  # contrast then
    assert plan.project(run, MEASURED).learning == pytest.approx(seconds)


def test_without_contrast_the_targets_still_move():
    run = run_of("acorm", contrastive_interval=0, target_interval=50, contrastive_pretraining=0)
    learning = plan.project(run, MEASURED).learning
    others = plan.updates(run, MEASURED) - 120
    assert learning == pytest.approx(120 * 0.2 + others * (0.1 + 2.0 / 50))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_measures_every_kind_of_update(algorithm, monkeypatch):
    """With as many batches as the method draws."""
    counted = Counter()

    def count(owner, name):
        whole = getattr(owner, name)

        def counting(self, *arguments):
            counted[name] += 1
            return whole(self, *arguments)

        monkeypatch.setattr(owner, name, counting)

    count(Learner, "optimizer_step")
    if hasattr(ALGORITHMS[algorithm], "contrast"):
        count(ALGORITHMS[algorithm], "contrast")
    run = run_of(algorithm)
    measured = measure.measure(run, seconds=0.01)
    assert counted["optimizer_step"] >= 6  # two for memory, to warm up, two timed, one due
    assert measured.pretraining.keys() == measure.pretraining(run).keys()
    numbers = [measured.env_step, measured.update, measured.evaluation_step, measured.length]
    assert all(number > 0 for number in [*numbers, *measured.pretraining.values()])
    assert measured.memory > 50e6
    assert measured.device_memory == 0 or measured.device_memory > 1e6
    if algorithm in ("acorm", "r3dm"):
        assert counted["contrast"] >= 1 + 4  # before the first TD update; due with every other


@pytest.mark.parametrize(
    ("seconds", "measured"), [(0, [2, 4, 8]), (60, [2, 4, 8, 16, 32])], ids=["some", "all"]
)
def test_memory_is_of_battles_that_last_to_the_limit(monkeypatch, seconds, measured):
    """And of whole batches of them, however few there was time for."""
    spec, sizes = spec_of("3m"), []

    def learn(learner, replay, rules, streams, updates):
        assert updates == 1  # on a CPU no batch waits
        batch = replay.sample(rules.batch_size, streams["replay"])
        assert batch.length.tolist() == [spec.episode_limit] * rules.batch_size
        sizes.append(rules.batch_size)

    monkeypatch.setattr(measure, "learn", learn)
    monkeypatch.setattr(measure, "_peaks", lambda _: np.array([1e9 + 2e7 * sizes[-1], 0]))
    run = resolve_run(map="3m", algorithm="qmix", seed=0)
    assert measure.peak_memory(run, spec, seconds).tolist() == [1e9 + 2e7 * 32, 0]
    assert sizes == measured


def cost_of(hours, **changes):
    """As measured, so that a run takes so many hours."""
    per_step = 3600 * hours / STUDY["set"]["budget"]
    nothing = {"update": 0, "due": 0, "evaluation_step": 0, "pretraining": {}, "replayed_step": 0}
    return dataclasses.replace(MEASURED, env_step=per_step, **(nothing | changes))


@pytest.fixture
def measuring(monkeypatch):
    """The maps that were measured; every run takes 30 hours, or what ``costs`` says."""
    made = SimpleNamespace(maps=[], costs={})

    class Inline(Executor):
        def __init__(self, *_, **__):
            pass

        def submit(self, _, run, seconds):
            made.maps.append(run["map"])
            future, cost = Future(), made.costs.get(run["map"]) or cost_of(30)
            if isinstance(cost, Exception):
                future.set_exception(cost)
            else:
                future.set_result(cost)
            return future

    monkeypatch.setattr(plan, "ProcessPoolExecutor", Inline)
    monkeypatch.setattr(plan, "as_completed", list)
    return made


def test_totals(study, capsys, measuring):
    """Known costs: two maps, one of which takes three times as long."""
    common = {"memory": 2e9, "state": 2.5e9, "policy": 1e6}
    measuring.costs = {"3m": cost_of(1, **common), "8m": cost_of(3, **common)}
    assert main(["plan", study, "--at-a-time", "2"]) == 0
    text = capsys.readouterr().out
    assert "12.0 run hours" in text  # 3 seeds x (1 h + 3 h)
    assert "qmix 12.0 h\n" in text
    assert "about 6.0 h with 2 runs at a time" in text
    assert "up to 2.0 GB for a run, 4.0 GB with 2 runs;" in text
    assert "6 MB of results, and up to 10.0 GB of checkpoints" in text
    assert main(["plan", study, "--at-a-time", "100"]) == 0
    assert "about 3.0 h with 6 runs at a time" in capsys.readouterr().out  # the longest run


def test_some_of_the_maps(study, capsys, measuring):
    assert main(["plan", study, "--maps", "8m"]) == 0
    text = capsys.readouterr().out
    assert "3 runs, 1,500,000 env steps" in text
    assert "3m" not in text
    assert main(["plan", study, "--maps", "8m", "9m"]) == 2
    assert "--maps 9m: not in the study, which has 3m, 8m" in capsys.readouterr().err


def test_what_was_measured_is_kept(study, capsys, caplog, measuring, monkeypatch, tmp_path):
    """By code, configuration and processes at a time; not by budget and seed."""

    def measured(*options, **changes):
        measuring.maps.clear()
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY | changes))
        assert main(["plan", study, "--at-a-time", "1", *options]) == 0
        return measuring.maps

    assert measured("--maps", "8m") == ["8m"]
    assert measured() == ["3m"]
    assert "measuring 1 of 2 cells" in caplog.text
    assert "1/1 qmix on 3m: 5 steps/s, 30.0 h a run (measured in 1 s)" in caplog.text
    caplog.clear()
    assert measured() == []
    assert caplog.text == ""
    assert measured(seeds=[7], set=STUDY["set"] | {"budget": 1_000_000}) == []
    assert "2.5 days" in capsys.readouterr().out
    assert measured(set=STUDY["set"] | {"batch_size": 8}) == ["3m", "8m"]
    assert measured("--fresh") == ["3m", "8m"]
    monkeypatch.setattr(plan.provenance, "cores", lambda: 2)
    assert measured("--at-a-time", "2") == ["3m", "8m"]
    monkeypatch.setattr(plan.provenance, "source_hash", lambda *_: "of other code")
    assert measured() == ["3m", "8m"]


def test_a_stopped_measurement_goes_on(measuring):
    runs = [run_of(), run_of("acorm")]
    cells = plan.measure_all(runs, 1, 3.0)
    next(cells)
    cells.close()
    assert [plan.kept(run, 1) for run in runs].count(None) == 1


@pytest.mark.parametrize("error", [MemoryError(), BrokenProcessPool(), BenchmarkError("no game")])
def test_a_measurement_that_fails_is_one_line(study, capsys, measuring, error):
    measuring.costs = {"3m": error, "8m": error}
    assert main(["plan", study]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    told = isinstance(error, BenchmarkError)
    assert line.startswith("error: no game" if told else "error: memory ran out while runs were")


def test_a_damaged_or_older_result_does_not_count(measuring, cache_folder):
    run = run_of()
    list(plan.measure_all([run], 1, 3.0))
    assert plan.kept(run, 1) == cost_of(30)
    (path,) = (cache_folder / "plan").iterdir()
    files.write_sealed({"seconds": 3.0}, path)
    assert plan.kept(run, 1) is None
    path.write_text("{")
    assert plan.kept(run, 1) is None


def test_a_busy_machine(study, capsys, caplog, measuring, monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (0.4, 0, 0))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert measure.busy(1) is False
    assert measure.busy(3) is True
    monkeypatch.setattr("os.getloadavg", lambda: (2.6, 0, 0))
    measuring.costs = {"8m": cost_of(30, busy=True)}
    assert main(["plan", study]) == 0
    out = capsys.readouterr().out
    assert "the machine is busy" in caplog.text
    assert re.search(r"3m +qmix +3 +500,000 +5 ", out)
    assert re.search(r"8m +qmix +3 +500,000 +\*5 ", out)
    assert "* 1 of it measured while the machine was busy" in out


def test_numbers_must_be_positive(study, capsys):
    assert main(["plan", study, "--at-a-time", "0"]) == 2
    assert "--at-a-time 0" in capsys.readouterr().err


def test_what_a_study_costs_on_a_cluster(study, capsys, measuring):
    measured = cost_of(30, memory=20e9, policy=0, state=2.5e9)
    measuring.costs = {"3m": measured, "8m": measured}
    assert main(["plan", study, "--at-a-time", "20", "--share", "1"]) == 0
    text = capsys.readouterr().out
    assert "GPU" not in text
    assert "up to 20.0 GB for a run, 20.0 GB with 1 run;" in text  # every run has its own node
    assert "up to 30.0 GB of checkpoints while 6 runs are under way" in text


def test_runs_that_share_a_gpu(study, capsys, measuring, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "Some GPU")
    measured = cost_of(30, memory=20e9, device_memory=1e9)
    measuring.costs = {"3m": measured, "8m": measured}
    assert main(["plan", study, "--at-a-time", "5", "--share", "4"]) == 0
    text = capsys.readouterr().out
    assert "45.0 GPU hours on 2 GPUs with 4 runs on each" in text
    assert "80.0 GB and 4.0 GB of the GPU's with 4 runs" in text
    assert "measured on Some GPU, " in text
    assert "CUDA itself takes more" in " ".join(text.split())


@pytest.mark.parametrize(
    ("count", "text"),
    [(999, "1 kB"), (12e6, "12 MB"), (3.44e9, "3.4 GB")],
)
def test_sizes(count, text):
    assert size(count) == text
