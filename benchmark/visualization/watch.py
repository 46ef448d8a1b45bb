"""``python -m benchmark watch``: plays one battle and shows it, as an animation and as stills."""

import argparse
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from benchmark import files
from benchmark.analysis import figures, labels
from benchmark.envs import BACKENDS, make
from benchmark.envs.maps import find_map
from benchmark.envs.scripted import POLICIES, play
from benchmark.errors import BenchmarkError
from benchmark.training.config import known
from benchmark.training.policy import load_policy
from benchmark.training.rollout import evaluate
from benchmark.training.seeding import check_seed
from benchmark.visualization import layout
from benchmark.visualization.recorder import Camera, Film

log = logging.getLogger("benchmark")

_DEFAULT_POLICY = "attack_nearest"
_STEP_MILLISECONDS, _END_MILLISECONDS = 150, 2000  #: how long an animation shows a step, the end
_COLOURS = 128  #: in an animated GIF
_STILLS_DPI = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("--map", help="e.g. 3m; with --checkpoint the run's own map")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="RUN",
        help="a run's folder, or its policy.pt (the best policy) or checkpoint.pt (the newest);"
        " plays greedily",
    )
    parser.add_argument(
        "--policy",
        metavar="NAME",
        help=f"who plays without a checkpoint: {', '.join(POLICIES)} (default {_DEFAULT_POLICY})",
    )
    parser.add_argument(
        "--backend",
        metavar="NAME",
        help=f"who fights: {', '.join(BACKENDS)} (default: the run's own, else {BACKENDS[0]}); a"
        " policy that was trained on one can be watched on the other",
    )
    parser.add_argument(
        "--replay",
        action="store_true",
        help="on starcraft2: also save the game's own replay beside the animation",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the battle (default 0)")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("results", "watch"),
        metavar="FOLDER|FILE.gif|FILE.mp4",
        help="default results/watch; stills go beside the animation",
    )
    parser.add_argument(
        "--stills",
        metavar="STEPS",
        help="env steps of the stills, e.g. 1,20,35,50; the start, the end and two between"
        " when left out",
    )


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    steps = None if arguments.stills is None else _steps(arguments.stills)
    check_seed(arguments.seed)
    animation = arguments.output
    if animation.suffix == ".mp4":
        _find_ffmpeg()
    folder = animation.is_dir() or not animation.suffix
    if not folder and animation.suffix not in (".gif", ".mp4"):
        raise BenchmarkError(f"--output {animation}: choose a folder, or a file .gif or .mp4")
    if arguments.backend is not None:
        known("backend", arguments.backend, BACKENDS)
    replays = None
    if arguments.replay:
        if arguments.backend != "starcraft2":
            raise BenchmarkError("--replay saves StarCraft II's own file: add --backend starcraft2")
        replays = animation if folder else animation.parent
    if arguments.checkpoint is not None:
        if arguments.policy is not None:
            raise BenchmarkError("a checkpoint has its own policy; leave out --policy")
        film, player = play_checkpoint(
            arguments.checkpoint, arguments.map, arguments.seed, arguments.backend, replays
        )
    elif arguments.map is None:
        raise BenchmarkError("watch needs --map or --checkpoint, e.g. --map 3m")
    else:
        film, player = play_scripted(
            arguments.map,
            arguments.policy or _DEFAULT_POLICY,
            arguments.seed,
            arguments.backend or BACKENDS[0],
            replays,
        )
    title = f"{player}, battle {arguments.seed}"
    if folder:
        name = re.sub(r"[^A-Za-z0-9_]+", "_", f"{film.spec.map} {player} battle {arguments.seed}")
        animation = animation / f"{name}.gif"
    write_animation(film, title, animation)
    written = write_stills(film, title, _chosen(steps, film.length), animation.with_suffix(""))
    log.info("%s after %d steps", film.result, film.length)
    for path in (animation, *written):
        print(path)


def play_scripted(
    map: str,
    policy: str,
    seed: int,
    backend: str = BACKENDS[0],
    replays: Path | None = None,
) -> tuple[Film, str]:
    """Films a battle of a scripted policy.

    Args:
        replays: folder for StarCraft II's own replay; none is saved when left out.

    Returns:
        the film, and the player's name for people.

    Raises:
        BenchmarkError: unknown map, policy or backend, or StarCraft II fails.
    """
    find_map(map)
    policy = policy.replace("-", "_")
    known("policy", policy, POLICIES)
    with closing(Camera(make(map, 1, backend))) as camera:
        play(camera, POLICIES[policy], 1, seed)
        return _developed(camera, replays), policy.replace("_", " ") + " (scripted)"


def play_checkpoint(
    path: Path,
    map: str | None,
    seed: int,
    backend: str | None = None,
    replays: Path | None = None,
) -> tuple[Film, str]:
    """Films a greedy battle of a trained policy, by the rules and env options of its run.

    Args:
        path: a run's ``policy.pt`` or ``checkpoint.pt``.
        map: the map that the user expects, if any.
        seed: of the battle.
        backend: who fights, if not the backend of the run.
        replays: folder for StarCraft II's own replay; none is saved when left out.

    Returns:
        the film, and the player's name for people.

    Raises:
        BenchmarkError: the file is missing, damaged or of another program; or of another map; or
            StarCraft II fails.
    """
    policy = load_policy(path, map=map)
    config = policy.config
    backend = backend or config.backend
    known("backend", backend, BACKENDS, str(path))
    with closing(Camera(make(config.map, 1, backend, config.env))) as camera:
        evaluate(camera, policy.learner, config.training, np.array([seed], np.uint64))
        return _developed(camera, replays), labels.run_label(config)


def _developed(camera: Camera, replays: Path | None) -> Film:
    """The film of the battle that was just played, and StarCraft II's replay if it is wanted."""
    if replays is not None:
        replays.mkdir(parents=True, exist_ok=True)
        log.info("replay %s", camera.save_replay(replays))
    return camera.film


def write_animation(film: Film, title: str, path: Path) -> None:
    """Writes a battle as an animated GIF or, by its suffix, an MP4 video.

    Raises:
        BenchmarkError: the file cannot be written, or ffmpeg is missing or fails.
    """
    images = _tracked(layout.animation(film, title), len(film.frames))
    with files.atomic(path) as temporary:
        if path.suffix == ".mp4":
            _write_mp4(images, temporary)
        else:
            _write_gif(images, temporary)


def write_stills(film: Film, title: str, steps: Sequence[int], stem: Path) -> list[Path]:
    """Writes a battle's stills as PNG and PDF.

    Returns:
        the files, ``STEM_stills.png`` and ``STEM_stills.pdf``.

    Raises:
        BenchmarkError: a file cannot be written.
    """
    name, formats = f"{stem.name}_stills", ("png", "pdf")
    figures.save(layout.stills(film, steps, title), name, stem.parent, formats, _STILLS_DPI)
    return [stem.with_name(f"{name}.{suffix}") for suffix in formats]


def _steps(text: str) -> list[int]:
    """The numbers of ``--stills``."""
    try:
        steps = [int(part) for part in text.split(",")]
    except ValueError:
        steps = []
    if not steps or min(steps) < 0:
        raise BenchmarkError(f"--stills {text}: expected env steps, e.g. --stills 1,20,35,50")
    return steps


def _chosen(steps: Sequence[int] | None, length: int) -> list[int]:
    """The steps of the stills, ascending; what lies beyond the end shows the end, once."""
    if steps is None:
        steps = [1, length // 3, 2 * length // 3, length]
    beyond = [step for step in steps if step > length]
    if beyond:
        log.info("the battle ended at step %d: shown for %s", length, ", ".join(map(str, beyond)))
    return sorted({min(step, length) for step in steps})


def _tracked(images: Iterable[np.ndarray], count: int) -> Iterator[np.ndarray]:
    """The same images, with a progress bar on a terminal."""
    if not sys.stderr.isatty():
        return iter(images)
    return track(images, "drawing", count, console=Console(stderr=True), transient=True)


def _write_gif(images: Iterable[np.ndarray], path: Path) -> None:
    """All frames share one palette, so that what does not change is not stored again."""
    frames = [Image.fromarray(image) for image in images]
    sample = frames[:: max(1, len(frames) // 8)] + frames[-1:]
    palette = Image.fromarray(np.concatenate([np.asarray(frame) for frame in sample]))
    palette = palette.quantize(_COLOURS, method=Image.Quantize.MEDIANCUT)
    first, *others = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [_STEP_MILLISECONDS] * len(frames)
    times[-1] = _END_MILLISECONDS
    first.save(path, format="GIF", save_all=True, append_images=others, duration=times, loop=0)


def _find_ffmpeg() -> str:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise BenchmarkError(
            "MP4 needs ffmpeg, which is not on PATH; install it or write a .gif instead"
        )
    return ffmpeg


def _write_mp4(images: Iterator[np.ndarray], path: Path) -> None:
    """Pipes the frames into ffmpeg; the same film gives the same bytes with the same ffmpeg."""
    first = next(images)
    height, width, _ = first.shape
    command = [
        _find_ffmpeg(), "-loglevel", "error", "-y",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}",
        "-r", f"1000/{_STEP_MILLISECONDS}", "-i", "-",
        "-c:v", "libx264", "-threads", "1", "-crf", "20", "-pix_fmt", "yuv420p",
        "-fflags", "+bitexact", "-flags:v", "+bitexact", "-movflags", "+faststart",
        "-f", "mp4", str(path),
    ]  # fmt: skip
    pipe = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    image = first
    try:
        pipe.stdin.write(first.tobytes())
        for image in images:
            pipe.stdin.write(image.tobytes())
        for _ in range(_END_MILLISECONDS // _STEP_MILLISECONDS):
            pipe.stdin.write(image.tobytes())
        pipe.stdin.close()
    except BrokenPipeError:
        pass  # ffmpeg gave up; it says why below
    message = pipe.stderr.read().decode(errors="replace").strip()
    if pipe.wait() != 0:
        reason = message.splitlines()[-1] if message else f"exit code {pipe.returncode}"
        raise BenchmarkError(f"ffmpeg could not write {path.name}: {reason}; write a .gif instead")
