"""What a GPU makes of this benchmark: ``make gpu``, at most nine minutes, without network.

Every part is a process with a time limit, and results are written after each: gpu.json, and gpu.md
as a section for docs/performance.md, to $OUT or build/gpu/. Packages are taken as they are; what is
missing is named. ``--device cpu --small`` tries all of it on a machine without a GPU.

Where packages are missing on a machine without network, bring their wheels in a folder:

    python3 -m pip install --no-index --no-deps --target /tmp/site FOLDER/*.whl
    PYTHONPATH=/tmp/site make gpu PYTHON=python3
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from algorithms.learner import Learner

ROOT = Path(__file__).resolve().parent.parent
#: module -> package, of what the parts import
NEEDED = {
    name: name
    for name in ("filelock", "lz4", "numba", "numpy", "pandas", "psutil", "pyarrow", "pydantic")
} | {"yaml": "pyyaml", "rich": "rich", "torch": "torch", "pytest": "pytest"}
MAPS = ("3s5z_vs_3s6z", "protoss_5_vs_5", "27m_vs_30m")
SMALL = {"n_envs": 2, "batch_size": 2, "evaluation_episodes": 2, "absolute_episodes": 2}

#: part -> seconds that it may take on a card
LIMITS = {
    "tests": 150,
    "update": 60,
    "plain": 45,
    "profile": 40,
    **{f"training {map}": 120 for map in MAPS},
    "shared 4": 75,
    "shared 8": 90,
    "shared 4 mps": 75,
    "shared 8 mps": 75,
    "study": 30,
}
#: How many times as long everything may take on a CPU: eight processes of R3DM at small sizes take
#: 70 seconds of one core, most of them for the Python of updates on episodes of full length.
SLOWER = 3


# The parts, each in a process of its own: they yield results as plain values ---------------------


def prepared(name: str, episodes: int, steps: int) -> tuple["Learner", Callable[[], None]]:
    """A learner, and an update of it on full-length episodes of 3s5z_vs_3s6z that ends when it is
    done on the device.
    """
    import numpy as np
    import torch

    from algorithms import ALGORITHMS
    from benchmark.envs import spec_of
    from benchmark.training.config import resolve_run
    from benchmark.training.device import choose_device
    from benchmark.training.measure import made_up, without_pretraining
    from benchmark.training.replay import ReplayBuffer

    spec, device = spec_of(MAPS[0]), choose_device("auto")
    run = without_pretraining(resolve_run(map=MAPS[0], algorithm=name, seed=0))
    learner = ALGORITHMS[name](spec, run.hyperparameters, run.training, 0, device)
    replay = ReplayBuffer(spec, episodes)
    replay.add(made_up(spec, episodes, steps))
    learner.on_collect(replay.episodes(0, episodes), 0)
    batch = replay.sample(episodes, np.random.default_rng(0)).to(learner.device)

    def work() -> None:
        learner.update(*[batch] * learner.BATCHES)
        if device == "cuda":
            torch.cuda.synchronize()

    return learner, work


def update(small: bool, plain: bool = False) -> Iterator[dict]:
    """Seconds of one update, 32 x 150 steps."""
    import torch
    from learner import fastest

    from algorithms import ALGORITHMS, kernels

    if plain:
        kernels.serve = lambda device: False
    for name in ("r3dm", "cds") if plain else ALGORITHMS:
        learner, work = prepared(name, *((2, 4) if small else (32, 150)))
        on_gpu = learner.device.type == "cuda"
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        seconds = fastest(work, repeats=2 if small or plain else 7)
        peak = torch.cuda.max_memory_allocated() if on_gpu else 0
        yield {"algorithm": name, "seconds": seconds, "device_memory": peak}


def profile(small: bool) -> Iterator[dict]:
    """What an update of R3DM and of CDS spends its time with on the device, the largest first."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    for name in ("r3dm", "cds"):
        learner, work = prepared(name, *((2, 4) if small else (32, 150)))
        on_gpu = learner.device.type == "cuda"
        work()  # compiles the kernels
        kind = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
        with profiled(activities=[kind]) as found:
            work()
        total = f"self_{'device' if on_gpu else 'cpu'}_time_total"
        spent = sorted(found.key_averages(), key=lambda one: -getattr(one, total))
        for one in spent[:8]:
            ms = getattr(one, total) / 1e3
            yield {"algorithm": name, "kernel": one.key[:60], "ms": ms, "calls": one.count}


def training(small: bool, map: str) -> Iterator[dict]:
    """Every method alone on a map: ``plan`` plays, learns and evaluates; who fails is told last."""
    import traceback

    import torch

    from algorithms import ALGORITHMS
    from benchmark.training.config import resolve_run
    from benchmark.training.measure import measure

    failed = []
    for name in ("qmix", "r3dm") if small else ALGORITHMS:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        overrides = [SMALL] if small else []
        run = resolve_run(map=map, algorithm=name, seed=0, overrides=overrides)
        try:
            yield {"algorithm": name, "map": map} | _rates(run, measure(run, 0.1 if small else 4))
        except Exception:
            failed.append(f"{name} failed:\n{traceback.format_exc()}")
    if failed:
        sys.exit("".join(failed))


def shared(small: bool, processes: int) -> Iterator[dict]:
    """R3DM in several processes at the same time."""
    from benchmark.training.config import resolve_run
    from benchmark.training.plan import measure_all

    overrides = [SMALL] if small else []
    runs = [
        resolve_run(map=MAPS[0], algorithm="r3dm", seed=seed, overrides=overrides)
        for seed in range(processes)
    ]
    for run, measured in measure_all(runs, processes, 0.1 if small else 12):
        yield {"algorithm": "r3dm", "map": run.map} | _rates(run, measured)


def study(small: bool) -> Iterator[dict]:
    """The runs of the paper's study that the projection counts."""
    from algorithms import ALGORITHMS
    from benchmark.envs import spec_of
    from benchmark.training import study_folder
    from benchmark.training.config import resolve_run

    paper = study_folder.find("paper").study
    for map in paper.maps:
        for name in ALGORITHMS:
            rules = resolve_run(map=map, algorithm=name, seed=0).training
            yield {
                "map": map,
                "algorithm": name,
                "agents": spec_of(map).n_agents,
                "budget": rules.budget,
                "batch_size": rules.batch_size,
                "seeds": len(paper.seeds),
            }


def _rates(run, measured) -> dict:
    from benchmark.training.plan import project, updates

    budget, cost = run.training.budget, project(run, measured)
    return {
        "seconds": cost.seconds,
        "collecting": cost.collecting,
        "learning": cost.learning,
        "evaluating": cost.evaluating,
        "env_steps_per_second": budget / cost.collecting,
        "updates_per_second": updates(run, measured) / cost.learning,
        "training_steps_per_second": budget / cost.seconds,
        "budget": budget,
        "batch_size": run.training.batch_size,
        "device_memory": cost.device_memory,
        "memory": cost.memory,
    }


# Running them -------------------------------------------------------------------------------------


def command(part: str, small: bool) -> list[str]:
    """How a part is started."""
    if part == "tests":
        marked = [
            str(p) for p in sorted(ROOT.glob("tests/**/test_*.py")) if "mark.gpu" in p.read_text()
        ]
        options = ["-rs", "-m", "gpu", "-p", "no:cacheprovider"]
        return [sys.executable, "-m", "pytest", *options, *marked]
    return [sys.executable, __file__, "--part", part, *(["--small"] if small else [])]


def run_part(part: str, arguments: list[str], limit: float, environment: dict) -> dict:
    """Runs a part for at most so many seconds.

    Returns:
        whether it came to its end, why not, its seconds, and the results that it had until then.
    """
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            arguments,
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its own processes end with it
        )
        try:
            ended = f"exit status {process.wait(limit)}"
        except subprocess.TimeoutExpired:
            ended = f"not done after {limit:.0f} s"
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
        output.seek(0)
        lines = output.read().splitlines()
    marked = [line for line in lines if line.startswith("RESULT ")]
    return {
        "ok": ended == "exit status 0",
        "ended": ended,
        "seconds": round(time.monotonic() - begin, 1),
        "results": [json.loads(line.removeprefix("RESULT ")) for line in marked],
        "last_lines": [line for line in lines if line not in marked][-60:],
    }


@contextmanager
def mps(environment: dict) -> Iterator[dict]:
    """The environment of processes that share the card through CUDA MPS, started for them."""
    with tempfile.TemporaryDirectory() as folder:
        names = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY")
        served = environment | dict.fromkeys(names, folder)
        subprocess.run(["nvidia-cuda-mps-control", "-d"], env=served, timeout=20, check=True)
        try:
            yield served
        finally:
            subprocess.run(
                ["nvidia-cuda-mps-control"], input="quit\n", text=True, env=served, timeout=20
            )


def measured(part: str, limit: float, environment: dict, small: bool) -> dict:
    """A part's outcome, whatever happens in it."""
    if limit < 10:
        return {"ok": False, "ended": "no time was left", "seconds": 0, "results": []}
    arguments = command(part.removesuffix(" mps"), small)
    try:
        if not part.endswith(" mps"):
            return run_part(part, arguments, limit, environment)
        if environment.get("CUDA_VISIBLE_DEVICES") == "" or not shutil.which(
            "nvidia-cuda-mps-control"
        ):
            return {"ok": False, "ended": "there is no MPS here", "seconds": 0, "results": []}
        with mps(environment) as served:
            return run_part(part, arguments, limit, served)
    except (OSError, subprocess.SubprocessError) as error:
        return {"ok": False, "ended": str(error), "seconds": 0, "results": []}


# What is written ----------------------------------------------------------------------------------


def machine() -> dict:
    """The card and the software, as far as they can be asked."""
    code = (
        "import json, platform, torch; from importlib.metadata import version;"
        "cuda = torch.cuda.is_available();"
        "print(json.dumps({'card': torch.cuda.get_device_name() if cuda else 'no GPU',"
        " 'memory': torch.cuda.get_device_properties(0).total_memory if cuda else 0,"
        " 'torch': torch.__version__, 'cuda': torch.version.cuda,"
        " 'python': platform.python_version(), 'numba': version('numba')}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {"card": done.stderr[-500:]}


def commit() -> str:
    """Of the checkout; a copy of its files alone has none."""
    asked = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def gpu_days(parts: dict) -> tuple[float, int, list[str]]:
    """Days of one card for the study's runs of the methods that were measured, one at a time.

    A map counts as the measured one with the nearest number of agents; collecting and evaluating in
    proportion to the budget, learning also to the batch. Returns also how many runs that are, and
    which maps were measured.
    """
    runs = {
        (row["map"], row["algorithm"]): row
        for part, outcome in parts.items()
        if part.startswith("training")
        for row in outcome["results"]
    }
    measured = {name for _, name in runs}
    grid = [row for row in parts["study"]["results"] if row["algorithm"] in measured]
    agents = {row["map"]: row["agents"] for row in grid}
    maps = [map for map in agents if all((map, row["algorithm"]) in runs for row in grid)]
    if not maps:
        raise KeyError("no map was measured with all these methods")
    days = 0.0
    for row in grid:
        near = min(maps, key=lambda map: abs(agents[map] - row["agents"]))
        like = runs[near, row["algorithm"]]
        scale, batch = row["budget"] / like["budget"], row["batch_size"] / like["batch_size"]
        seconds = scale * (like["collecting"] + like["evaluating"] + batch * like["learning"])
        days += row["seeds"] * seconds / 86400
    return days, sum(row["seeds"] for row in grid), maps


def markdown(found: dict) -> str:
    """The section for docs/performance.md."""
    parts, about = found["parts"], found["machine"]
    lines = [
        f"## On a GPU: {about['card']}",
        "",
        f"`make gpu`, {found['date']}, commit {found['commit']}, torch {about.get('torch')}, CUDA"
        f" {about.get('cuda')}, Python {about.get('python')}.",
        "",
        "| part | came to its end | seconds |",
        "|---|---|---:|",
        *(
            f"| {part} | {'yes' if one['ok'] else one['ended']} | {one['seconds']} |"
            for part, one in parts.items()
        ),
    ]
    if tests := parts.get("tests"):
        lines += ["", f"Tests: {(tests.get('last_lines') or ['did not run'])[-1].strip('= ')}"]
    plain = {row["algorithm"]: row for row in parts.get("plain", {}).get("results", [])}
    if rows := parts.get("update", {}).get("results"):
        lines += ["", "One update of 32 episodes of 150 steps, 3s5z_vs_3s6z:", ""]
        lines += ["| | ms | without our kernels, ms | memory |", "|---|---:|---:|---:|"]
        for row in rows:
            other = plain.get(row["algorithm"])
            without = f"{other['seconds'] * 1e3:.1f}" if other else ""
            memory = f"{row['device_memory'] / 1e9:.1f} GB"
            lines.append(
                f"| {row['algorithm']} | {row['seconds'] * 1e3:.1f} | {without} | {memory} |"
            )
    if rows := parts.get("profile", {}).get("results"):
        lines += ["", "What it does there for longest:", "", "| | ms | calls |", "|---|---:|---:|"]
        for row in rows:
            lines.append(
                f"| {row['algorithm']}: {row['kernel']} | {row['ms']:.1f} | {row['calls']} |"
            )
    lines += ["", "Training, by `plan` (battles as long as at random play):", ""]
    lines += ["| | updates/s | collecting, env steps/s | training, env steps/s | GPU memory |"]
    lines += ["|---|---:|---:|---:|---:|"]
    for part, one in parts.items():
        if not part.startswith(("training", "shared")) or not one["results"]:
            continue
        label = part if part.startswith("shared") else ""
        for row in one["results"]:
            name = f"{row['algorithm']} {row['map']}" + (f", one of {label}" if label else "")
            lines.append(
                f"| {name} | {row['updates_per_second']:.1f} | {row['env_steps_per_second']:.0f} |"
                f" {row['training_steps_per_second']:.0f} | {row['device_memory'] / 1e9:.1f} GB |"
            )
    try:
        days, count, maps = gpu_days(parts)
    except KeyError as error:
        return "\n".join([*lines, "", f"No projection of the study: {error}."]) + "\n"
    measured_on = ", ".join(maps)
    lines += ["", f"The study's {count} runs of these methods, one at a time: {days:.1f} GPU days"]
    lines[-1] += f" (from {measured_on})."
    alone = [
        row["training_steps_per_second"]
        for row in parts.get(f"training {MAPS[0]}", {}).get("results", [])
        if row["algorithm"] == "r3dm"
    ]
    for part, one in parts.items():
        wanted = int(part.split()[1]) if part.startswith("shared") else 0
        if wanted and alone and len(one["results"]) == wanted:
            together = sum(row["training_steps_per_second"] for row in one["results"])
            factor = together / alone[0]
            lines.append(
                f"Runs {part}: R3DM gets {factor:.2f} times the steps; {days / factor:.1f} GPU"
                " days if all methods do."
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs all parts, or one of them inside its process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes of a try-out")
    parser.add_argument("--limit", type=float, default=530, help="seconds for everything on a card")
    parser.add_argument("--parts", nargs="*", default=list(LIMITS), choices=list(LIMITS))
    parser.add_argument("--out", type=Path, default=os.environ.get("OUT", ROOT / "build" / "gpu"))
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        kind, _, which = arguments.part.partition(" ")
        works = {
            "update": lambda: update(arguments.small),
            "plain": lambda: update(arguments.small, plain=True),
            "profile": lambda: profile(arguments.small),
            "training": lambda: training(arguments.small, which),
            "shared": lambda: shared(arguments.small, int(which)),
            "study": lambda: study(arguments.small),
        }
        for result in works[kind]():
            print("RESULT", json.dumps(result), flush=True)
        return
    begin = time.monotonic()
    if missing := [NEEDED[name] for name in NEEDED if importlib.util.find_spec(name) is None]:
        sys.exit(f"error: missing packages: {' '.join(missing)}; this Python is {sys.executable}")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    if arguments.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = os.environ["CUDA_VISIBLE_DEVICES"] = ""
    about = machine()
    if arguments.device == "cuda" and not about.get("memory"):
        sys.exit(f"error: torch sees no CUDA device ({about}); --device cpu --small tries this out")
    found = {"machine": about, "date": time.strftime("%Y-%m-%d"), "commit": commit(), "parts": {}}
    arguments.out.mkdir(parents=True, exist_ok=True)
    slower = SLOWER if arguments.device == "cpu" else 1
    for part in arguments.parts:
        limit, left = slower * LIMITS[part], slower * arguments.limit - (time.monotonic() - begin)
        if part != "study":  # it takes seconds, and the projection needs it
            limit = min(limit, left)
        found["parts"][part] = measured(part, limit, environment, arguments.small)
        (arguments.out / "gpu.json").write_text(json.dumps(found, indent=1))
        (arguments.out / "gpu.md").write_text(markdown(found))
        outcome = found["parts"][part]
        print(f"{part}: {outcome['ended']} after {outcome['seconds']} s", flush=True)
        if not outcome["ok"]:
            print("\n".join(outcome.get("last_lines", [])), flush=True)
    print((arguments.out / "gpu.md").read_text())


if __name__ == "__main__":
    main()
