"""The comparison with the real game as figures."""

import numpy as np

from benchmark.envs.validation.random_play import PURE

_MARKERS = "os^vDP*X<>ph"


def comparison(results: dict):
    """Policies, untrained ones, near-random play and recorded steps, a plot each; parts without
    evidence stay empty."""
    from matplotlib.figure import Figure

    figure = Figure((9, 6.8), layout="constrained", dpi=150)
    ((trained, untrained), (random, steps)) = figure.subplots(2, 2)
    _policies(trained, results["policies"])
    _untrained(untrained, results["untrained"])
    _random_play(random, [row for row in results["random_play"] if row["epsilon"] == PURE])
    _steps(steps, results["steps"][:1])
    return figure


def _policies(axes, rows):
    axes.plot([0, 1], [0, 1], color="0.6", lw=0.8)
    axes.fill_between([0, 1], [-0.1, 0.9], [0.1, 1.1], color="0.93", zorder=0)
    names = list(dict.fromkeys(row["map"] for row in rows))
    for k, name in enumerate(names):
        mine = [row for row in rows if row["map"] == name and not np.isnan(row["real_win"])]
        real, here, error = (
            [row[key] for row in mine] for key in ("real_win", "win", "win_interval")
        )
        axes.errorbar(
            real, here, error, fmt=_MARKERS[k % len(_MARKERS)], ms=5, lw=0.8, color=f"C{k % 10}",
            label=name, alpha=0.85,
        )  # fmt: skip
    axes.set(
        xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="wins in the game", ylabel="wins here",
        title="Policies trained in the game",
    )  # fmt: skip
    if names:
        axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _untrained(axes, rows):
    """Length of battles of policies that were rebuilt from their seeds."""
    longest = max((max(row["length"], row["real_length"]) for row in rows), default=1)
    axes.plot([0, longest], [0, longest], color="0.6", lw=0.8)
    for k, name in enumerate(dict.fromkeys(row["map"] for row in rows)):
        mine = [row for row in rows if row["map"] == name]
        axes.plot(
            [row["real_length"] for row in mine], [row["length"] for row in mine],
            _MARKERS[k % len(_MARKERS)], ms=4, color=f"C{k % 10}", label=name, alpha=0.7,
        )  # fmt: skip
    axes.set(
        xlabel="env steps of a battle in the game", ylabel="here",
        title="Untrained policies, rebuilt from their seeds",
    )  # fmt: skip
    if rows:
        axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _random_play(axes, rows):
    """Ratios here / in the game with 95 % intervals."""
    axes.axvline(1, color="0.6", lw=0.8)
    for k, name in enumerate(("length", "return")):
        ratio = np.array([row[name] / row[f"real_{name}"] for row in rows])
        error = [
            np.hypot(row[f"{name}_interval"] / row[name],
                     row[f"real_{name}_interval"] / row[f"real_{name}"])
            for row in rows
        ]  # fmt: skip
        place = np.arange(len(rows)) + 0.16 * (2 * k - 1)
        axes.errorbar(ratio, place, xerr=ratio * error, fmt="os"[k], ms=4, lw=0.8, label=name)
    axes.set_yticks(range(len(rows)), [row["map"] for row in rows], fontsize=8)
    axes.set(xlabel="here / in the game", title="Random play")
    axes.set_ylim(len(rows) - 0.5, -1.3)  # downwards, with room for the legend
    if rows:
        axes.legend(fontsize=7, frameon=False, loc="upper center", ncols=2)


def _steps(axes, found):
    """Shares here and their ceilings, after one step and after five, and predicted targets."""
    for steps in found:
        shares = {"agents": "hits on agents", "enemies": "hits on enemies", "alive": "deaths"}
        bars = [(p, name) for p in ("one", "five") for name in shares if steps[p]]
        labels = [f"{shares[name]}, {p} step{'s' * (p == 'five')}" for p, name in bars]
        values = [steps[p][name] for p, name in bars]
        if targets := steps["targets"].get("all"):
            labels.append(f"targets of lone enemies ({targets[0]})")
            values.append((targets[1], targets[3]))
        here, ceiling = zip(*values, strict=True)
        place = np.arange(len(labels))
        axes.barh(place, here, color="C0", alpha=0.8)
        axes.vlines(ceiling, place - 0.4, place + 0.4, color="k")
        axes.set_yticks(place, labels, fontsize=8)
        axes.invert_yaxis()
        axes.set(xlim=(0, 1.02), xlabel="share right (line: ceiling)")
        axes.set_title(f"Recorded steps of {steps['map']}")


def learning_curves(found: dict):
    """Win rate of QMIX against env steps, a plot per map: the public runs' mean with the quantiles
    10 % and 90 %, and ours with the range over seeds."""
    from matplotlib.figure import Figure

    curves = found["curves"]
    names = [row["map"] for row in found["finals"]] + found["missing"]
    columns = min(4, max(len(names), 1))
    lines = -(-len(names) // columns)
    figure = Figure((2.5 * columns, 1.9 * lines), layout="constrained", dpi=150)
    plots = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for axes, name in zip(plots, names, strict=False):
        for game, colour, text in ((True, "0.35", "StarCraft II"), (False, "C0", "simulator")):
            one = curves[(curves["map"] == name) & (curves["game"] == game)].sort_values("step")
            x = one["step"] / 1e6
            n = int(one["runs"].max()) if len(one) else 0
            label = f"{text} ({n} run{'s' * (n > 1)})" if n else f"{text}: no finished run"
            axes.plot(x, one["win"], color=colour, lw=1.2, label=label)
            axes.fill_between(x, one["low"], one["high"], color=colour, alpha=0.18, lw=0)
        axes.set_title(name, fontsize=8)
        axes.set(ylim=(-0.02, 1.02), xlim=(0, 2))
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=6, frameon=False)
    for axes in plots[len(names) :]:
        axes.remove()
    figure.supxlabel("million env steps", fontsize=8)
    figure.supylabel("win rate", fontsize=8)
    return figure
