"""Plays one battle and shows it, as an animation and as stills."""

import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any, cast

import numpy as np
from matplotlib.animation import FFMpegWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
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
from benchmark.visualization import pages
from benchmark.visualization.layout import DPI
from benchmark.visualization.recorder import Recorder, Recording

log = logging.getLogger("benchmark")

_STEP_MILLISECONDS, _END_MILLISECONDS = 150, 2000  #: how long an animation shows a step, the end
_COLOURS = 128  #: in an animated GIF
_STILLS_DPI = 200


def play_scripted(
    map: str, policy: str, seed: int, backend: str = BACKENDS[0]
) -> tuple[Recording, str]:
    """Records a battle of a scripted policy.

    Returns:
        the recording, and the player's name for people.

    Raises:
        BenchmarkError: unknown map, policy or backend, or StarCraft II fails.
    """
    find_map(map)
    policy = policy.replace("-", "_")
    known("policy", policy, POLICIES)
    with closing(Recorder(make(map, 1, backend))) as recorder:
        play(recorder, POLICIES[policy], 1, seed)
        return recorder.recording, policy.replace("_", " ") + " (scripted)"


def play_checkpoint(
    path: Path, map: str | None, seed: int, backend: str | None = None
) -> tuple[Recording, str]:
    """Records a greedy battle of a trained policy, by the rules and env options of its run.

    Args:
        path: a run's folder, ``policy.pt`` or ``checkpoint.pt``.
        map: the map that the user expects, if any.
        seed: of the battle.
        backend: in place of the run's own.

    Returns:
        the recording, and the player's name for people.

    Raises:
        BenchmarkError: the file is missing, damaged or of another program; or of another map; or
            StarCraft II fails.
    """
    policy = load_policy(path, map=map)
    config = policy.config
    backend = backend or config.backend
    known("backend", backend, BACKENDS, str(path))
    with closing(Recorder(make(config.map, 1, backend, config.env))) as recorder:
        evaluate(recorder, policy.learner, config.training, np.array([seed], np.uint64))
        return recorder.recording, labels.run_label(config)


def write_animation(recording: Recording, title: str, path: Path) -> None:
    """Writes a battle as an animated GIF or, by its suffix, an MP4 video.

    Raises:
        BenchmarkError: the file cannot be written, or ffmpeg fails.
    """
    frames = _tracked(pages.animation(recording, title), len(recording.snapshots))
    with files.atomic(path) as temporary:
        if path.suffix == ".mp4":
            _write_mp4(frames, temporary)
        else:
            _write_gif(frames, temporary)


def write_stills(recording: Recording, title: str, steps: Sequence[int], stem: Path) -> list[Path]:
    """Writes a battle's stills as PNG and PDF.

    Returns:
        the files, ``STEM_stills.png`` and ``STEM_stills.pdf``.

    Raises:
        BenchmarkError: a file cannot be written.
    """
    name, formats = f"{stem.name}_stills", ("png", "pdf")
    figures.save(pages.stills(recording, steps, title), name, stem.parent, formats, _STILLS_DPI)
    return [stem.with_name(f"{name}.{suffix}") for suffix in formats]


def chosen_steps(steps: Sequence[int] | None, length: int) -> list[int]:
    """The steps of the stills, ascending; those after the end show the end, once.

    Without ``steps``: the first, the last, and two between.
    """
    if steps is None:
        steps = [1, length // 3, 2 * length // 3, length]
    beyond = [step for step in steps if step > length]
    if beyond:
        log.info("the battle ended at step %d: shown for %s", length, ", ".join(map(str, beyond)))
    return sorted({min(step, length) for step in steps})


def require_ffmpeg() -> None:
    """Raises BenchmarkError where ffmpeg is missing, before a battle is played."""
    if not FFMpegWriter.isAvailable():
        raise BenchmarkError(
            "MP4 needs ffmpeg, which is not on PATH; install it or write a .gif instead"
        )


def _tracked(frames: Iterable[Figure], count: int) -> Iterator[Figure]:
    """The same frames, with a progress bar on a terminal."""
    if not sys.stderr.isatty():
        return iter(frames)
    bar = track(frames, "drawing", count, console=Console(stderr=True), transient=True)
    return iter(bar)


def _write_gif(frames: Iterable[Figure], path: Path) -> None:
    """All images share one palette, so that what does not change is not stored again."""
    images = []
    for figure in frames:
        canvas = cast(FigureCanvasAgg, figure.canvas)
        canvas.draw()
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    sample = images[:: max(1, len(images) // 8)] + images[-1:]
    palette = Image.fromarray(np.concatenate([np.asarray(image) for image in sample]))
    palette = palette.quantize(_COLOURS, method=Image.Quantize.MEDIANCUT)
    first, *others = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    times = [*[_STEP_MILLISECONDS] * len(others), _END_MILLISECONDS]
    first.save(path, format="GIF", save_all=True, append_images=others, duration=times, loop=0)


def _write_mp4(frames: Iterator[Figure], path: Path) -> None:
    """The same battle gives the same bytes with the same ffmpeg."""
    options = [
        "-threads", "1", "-crf", "20", "-pix_fmt", "yuv420p", "-f", "mp4",
        "-vf", f"tpad=stop_mode=clone:stop_duration={_END_MILLISECONDS / 1000}",  # the end stays
        "-fflags", "+bitexact", "-flags:v", "+bitexact", "-movflags", "+faststart",
    ]  # fmt: skip
    rate: Any = 1000 / _STEP_MILLISECONDS  # matplotlib's types know whole ones only
    writer = FFMpegWriter(rate, codec="libx264", extra_args=options)
    figure = next(frames)
    try:
        with writer.saving(figure, str(path), DPI):
            writer.grab_frame()
            for _ in frames:
                writer.grab_frame()
    except CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        raise BenchmarkError(f"ffmpeg failed: {lines[-1]}; write a .gif instead") from error
