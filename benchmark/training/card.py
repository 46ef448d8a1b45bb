"""Which GPU a run takes where several runs share one or more: the one with the fewest of them.

Nothing has to know all runs: each holds one share of a card, a lock that ends with its process, and
sees no other card. So runs of a killed workflow count as long as they train on.
"""

import logging
import os
import re
import subprocess
import tempfile
import time
from itertools import chain
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger("benchmark")

_held: list[FileLock] = []  #: a lock that nothing refers to would be released


def take_share(percent: int) -> None:
    """Takes a share of a GPU until the process ends; of several cards it leaves that one visible.

    Waits while all shares of all cards are taken. Without a card it does nothing. Call it before
    torch looks for GPUs.

    Args:
        percent: of a card that each run takes, the same for all runs.
    """
    cards = visible_cards()
    if not cards:
        return
    # Within a Slurm job, numbers may count the job's own cards.
    owner = "-".join([str(os.getuid()), *filter(None, [os.environ.get("SLURM_JOB_ID")])])
    folder = Path(tempfile.gettempdir(), f"benchmark-gpus-{owner}")
    folder.mkdir(exist_ok=True)
    waiting = False
    while (card := _taken(cards, max(1, 100 // percent), folder)) is None:
        if not waiting:
            log.warning("all shares of the GPUs %s are taken; waiting for one", ", ".join(cards))
        waiting = True
        time.sleep(1)
    os.environ["CUDA_VISIBLE_DEVICES"] = card


def visible_cards() -> list[str]:
    """The cards, or where a card is divided by MIG its parts, as CUDA_VISIBLE_DEVICES names them.

    Those of that variable where it is set, else all of the machine.
    """
    granted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if granted is not None:
        return [card.strip() for card in granted.split(",") if card.strip() not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    cards: list[str] = []
    for line in listed.stdout.splitlines():
        if found := re.search(r"\(UUID: ((GPU|MIG)-[^)]+)\)", line):
            # The parts of a card stand below it; it cannot be used as a whole then.
            if found[2] == "MIG" and cards and cards[-1].startswith("GPU"):
                cards.pop()
            cards.append(found[1])
    return cards


def _taken(cards: list[str], shares: int, folder: Path) -> str | None:
    """The card of which a share was taken; None when there is none left."""
    with FileLock(folder / "choosing.lock"):
        free = {card: _free_shares(card, shares, folder) for card in cards}
        card = max(cards, key=lambda card: len(free[card]))
        if not free[card]:
            return None
        _held.append(free[card][0])
        for lock in chain.from_iterable(free.values()):
            if lock is not _held[-1]:
                lock.release()
    return card


def _free_shares(card: str, shares: int, folder: Path) -> list[FileLock]:
    """The shares that nobody has, now held by this process."""
    locks = []
    for share in range(shares):
        lock = FileLock(
            folder / f"{card.replace('/', '-')}.{share}.lock",
            fallback_to_soft=False,
            preserve_lock_file=True,
        )
        try:
            lock.acquire(timeout=0)
            locks.append(lock)
        except Timeout:
            pass
    return locks
