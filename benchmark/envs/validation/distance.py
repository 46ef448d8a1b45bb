"""How far the simulator is from the game on some maps, in one sentence for a report."""

import numpy as np

from benchmark.envs.validation.evidence import FACTS
from benchmark.envs.validation.policies import difference


def sentence(maps: list[str], version: str) -> str:
    """What ``results/real/policies.csv`` says of these maps.

    Args:
        version: of the simulator that the runs were trained in; an older one is as far from the
            game as it was then, whatever is measured today.
    """
    import pandas as pd

    path = FACTS / "policies.csv"
    if not path.exists():
        return f"How far the simulator is from the game is not known: {path} is missing."
    table = pd.read_csv(path)
    by_map = difference(table.to_dict("records"))
    known = {name: by_map[name] for name in maps if name in by_map}
    rest = ", ".join(name for name in maps if name not in by_map)
    said = []
    if known:
        listed = ", ".join(f"{name} {value:.2f}" for name, value in known.items())
        measured = ", ".join(sorted(set(table["simulator"].astype(str))))
        said.append(
            "Policies that were trained in StarCraft II win here more or less often than there, by"
            f" {np.mean(list(known.values())):.2f} of all battles as the mean over maps ({listed};"
            f" simulator {measured})."
        )
        if version != measured:
            said.append(f"These runs are of simulator {version}, which was not measured.")
    if rest:
        said.append(
            f"No policy from the game is known of {rest}: there is at most a comparison of learning"
            " curves (docs/simulator.md)."
        )
    return " ".join(said)
