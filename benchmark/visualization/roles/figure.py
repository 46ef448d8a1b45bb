"""The figure of roles: battles with units coloured by role, below them the roles, then measures.

Two rows for each policy: stills of a battle; below each the roles of the same decision, laid out by
a t-SNE of its own, as in R3DM's figure 4, and in one of the decisions of many battles, where places
can be compared over time. One page wide, as high as the policies need.
"""

import dataclasses
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from sklearn.manifold import TSNE

from benchmark.analysis import labels, plots
from benchmark.analysis.roles import interval, per_battle
from benchmark.training.policy import Policy
from benchmark.visualization import legend
from benchmark.visualization.layout import GREY, Page
from benchmark.visualization.markers import INK, ink_on
from benchmark.visualization.render import draw_snapshot, draw_terrain, view_of
from benchmark.visualization.roles.battles import Battle
from benchmark.visualization.roles.clusters import SEED

_WIDTH, _MARGIN, _SPACE, _GAP = 7.0, 0.04, 0.1, 0.04  #: inches, of the page and between panels
_CURVES, _LEFT_OF_CURVES, _BELOW_CURVES = 0.95, 0.36, 0.36  #: inches, their height and ticks
_LINE = 0.11  #: inches, per line of text
_MOST_POINTS = 1500  #: in a t-SNE of many battles
_LASTING = 0.25  #: share of the battles that must go on for a curve to go on
#: Of role clusters: none of the teams' colours. More clusters are spread over all hues.
_COLOURS = ("#AA3377", "#CCBB44", "#228833", "#66CCEE", "#FF9DA7", "#333333", "#9C755F", "#B8A1E0")
_SHAPES = "os^DvP*X"  #: of the training's clusters
_LINES = ("-", (0, (4, 1.5)), (0, (1, 1)))  #: of policies of the same method
_MEASURES = {
    "silhouette": "silhouette of roles",
    "nearest_centre": "distance to the next role",
    "divergence": "policy divergence (nats)",
    "other_action": "other action in other role",
}


@dataclass(frozen=True)
class Play:
    """A policy's battles, and the one that is shown."""

    policy: Policy
    battles: list[Battle]
    asked: list[int]  #: decisions that shall be shown, from 1, ascending

    @property
    def name(self) -> str:
        """The policy's method and seed, for people."""
        return labels.run_label(self.policy.config)

    @property
    def shown(self) -> int:
        """Index of the battle with the stills: the first that lasts long enough, or the longest."""
        lengths = [len(battle.alive) for battle in self.battles]
        enough = [index for index, length in enumerate(lengths) if length >= self.asked[-1]]
        return enough[0] if enough else int(np.argmax(lengths))

    @property
    def battle(self) -> Battle:
        """The battle with the stills."""
        return self.battles[self.shown]

    @property
    def steps(self) -> list[int]:
        """The decisions of that battle that have a still; the last one stands for later ones."""
        last = len(self.battle.alive)
        return sorted({min(step, last) for step in self.asked})

    @property
    def missing(self) -> list[int]:
        """The decisions that no battle reached."""
        return [step for step in self.asked if step > len(self.battle.alive)]

    @property
    def colours(self) -> list[str]:
        """Of the policy's clusters."""
        return palette(self.policy.learner.config.clusters)


def draw(plays: Sequence[Play], numbers: pd.DataFrame) -> Figure:
    """Draws the figure.

    Args:
        plays: of one map, backend and protocol.
        numbers: of all their battles, see ``measures.measure``.
    """
    plots.style()
    page = Page(_WIDTH, _MARGIN)
    config = plays[0].policy.config
    page.write(_MARGIN, f"Roles on {config.map}", _LINE / 2, size=8.5, weight="bold")
    source = labels.source(config.backend, config.protocol)
    page.write(_WIDTH - _MARGIN, source, _LINE / 2, size=6.5, color=GREY, ha="right")
    page.y += 2 * _LINE
    columns = max(3, *(len(play.steps) for play in plays))
    width = (_WIDTH - 2 * _MARGIN - (columns - 1) * _SPACE) / columns
    for play in plays:
        _draw_policy(page, play, width)
    _draw_curves(page, plays, numbers)
    page.add_legend(legend.entries(set.union(*(play.battle.recording.kinds for play in plays))))
    page.y += _LINE
    _draw_footer(page, plays)
    return page.finish()


def palette(clusters: int) -> list[str]:
    """A colour for each cluster."""
    if clusters <= len(_COLOURS):
        return list(_COLOURS[:clusters])
    return sns.husl_palette(clusters).as_hex()


def single_layout(roles: np.ndarray) -> np.ndarray:
    """The roles of one decision [N, Z] in the plane [N, 2], as in the authors' notebook."""
    estimator = TSNE(
        perplexity=min(2.0, len(roles) - 1.0),
        early_exaggeration=5.0,
        learning_rate=200.0,
        init="random",
        method="exact",
        random_state=SEED,
    )
    return estimator.fit_transform(roles)


def joint_layout(roles: np.ndarray) -> np.ndarray:
    """Many roles [P, Z] in the plane [P, 2]."""
    estimator = TSNE(perplexity=min(30.0, (len(roles) - 1) / 3), init="pca", random_state=SEED)
    return estimator.fit_transform(roles)


def _draw_policy(page: Page, play: Play, width: float) -> None:
    """A title, and a column ``width`` inches wide for each still and its roles."""
    battle = play.battle
    page.write(_MARGIN, play.name, _LINE / 2, size=7.5, weight="bold")
    end = f"battle {battle.seed}: {battle.recording.result} after {len(battle.alive)} decisions"
    if play.missing:
        end += f", none at t = {', '.join(map(str, play.missing))}"
    page.write(_WIDTH - _MARGIN, end, _LINE / 2, size=6.5, color=GREY, ha="right")
    page.y += 1.4 * _LINE
    left = [_MARGIN + column * (width + _SPACE) for column in range(len(play.steps))]
    for x, step in zip(left, play.steps, strict=True):
        page.write(x, f"t = {step}", _LINE / 2, size=6.5)
    page.y += 1.1 * _LINE
    _draw_stills(page, play, left, width)
    _draw_roles(page, play, left, (width - _GAP) / 2)
    page.y += _SPACE


def _draw_stills(page: Page, play: Play, left: list[float], width: float) -> None:
    """The battle, agents in the colours of their clusters."""
    recording = play.battle.recording
    snapshots = [recording.snapshots[step - 1] for step in play.steps]
    view = view_of(dataclasses.replace(recording, snapshots=snapshots))
    height = width * (view[3] - view[2]) / (view[1] - view[0])
    for x, step, snapshot in zip(left, play.steps, snapshots, strict=True):
        axes = page.add(x, width, height)
        draw_terrain(axes, recording.walkable, view)
        colours = [play.colours[label] for label in play.battle.clusters.roles[step - 1]]
        draw_snapshot(axes, snapshot, colours)
        for agent in np.flatnonzero(play.battle.alive[step - 1]):
            _number(axes, agent, snapshot.positions[agent], colours[agent])
    page.y += height + _GAP


def _draw_roles(page: Page, play: Play, left: list[float], side: float) -> None:
    """The roles of each decision, on their own and among those of many decisions and battles."""
    chosen = _chosen(play)
    picked = list(zip(play.battles, chosen, strict=True))
    stacked = np.concatenate([battle.roles[steps] for battle, steps in picked])  # [P, N, Z]
    labels = np.concatenate([battle.clusters.roles[steps] for battle, steps in picked])
    joint = joint_layout(stacked.reshape(-1, stacked.shape[-1])).reshape(*stacked.shape[:2], 2)
    colours = [play.colours[label] for label in labels.ravel()]
    first = sum(map(len, chosen[: play.shown]))
    for x, step in zip(left, play.steps, strict=True):
        axes = page.add(x, side, side)
        own = single_layout(play.battle.roles[step - 1])
        _fit(axes, own, "this decision")
        _agents(axes, own, play, step)
        axes = page.add(x + side + _GAP, side, side)
        axes.scatter(
            *joint.reshape(-1, 2).T, s=1.5, c=colours, alpha=0.3, linewidths=0, rasterized=True
        )
        _fit(axes, joint.reshape(-1, 2), "many decisions")
        row = first + int(np.flatnonzero(chosen[play.shown] == step - 1)[0])
        _agents(axes, joint[row], play, step)
    page.y += side


def _chosen(play: Play) -> list[np.ndarray]:
    """The decisions (from 0) of each battle in the joint layout: evenly, and those with a still."""
    total = sum(battle.alive.size for battle in play.battles)
    every = -(-total // _MOST_POINTS)
    chosen = [np.arange(0, len(battle.alive), every) for battle in play.battles]
    chosen[play.shown] = np.union1d(chosen[play.shown], np.array(play.steps) - 1)
    return chosen


def _fit(axes: Axes, places: np.ndarray, name: str) -> None:
    """Limits around the places [P, 2], the same for both directions, and the panel's name."""
    low, high = places.min(0), places.max(0)
    (x, y), span = (low + high) / 2, max(*(high - low), 1e-6)
    axes.set(xlim=(x - 0.7 * span, x + 0.7 * span), xticks=[])
    axes.set(ylim=(y - 0.6 * span, y + 0.8 * span), yticks=[])  # room for the name
    for spine in axes.spines.values():
        spine.set(color="#999999", linewidth=0.5)
    axes.text(0.03, 0.975, name, transform=axes.transAxes, va="top", size=4.5, color=GREY)


def _agents(axes: Axes, places: np.ndarray, play: Play, step: int) -> None:
    """The agents of one decision: colour by role, shape by the training's cluster."""
    alive = play.battle.alive[step - 1]
    labels, training = play.battle.clusters.roles[step - 1], play.battle.clusters.training[step - 1]
    for agent, place in enumerate(places):
        colour, shape = play.colours[labels[agent]], _SHAPES[training[agent] % len(_SHAPES)]
        if alive[agent]:
            style = dict(markerfacecolor=colour, markeredgecolor=INK, markeredgewidth=0.4)
        else:
            style = dict(markerfacecolor="white", markeredgecolor=colour, markeredgewidth=1.0)
        axes.plot(*place, shape, markersize=4.5, zorder=3, **style)
        _number(axes, agent, place, colour)


def _number(axes: Axes, agent: int, at: np.ndarray, colour: str) -> None:
    """An agent's number next to its sign, on its role's colour."""
    left, right = axes.get_xlim()
    aside = -4.5 if at[0] > right - 0.05 * (right - left) else 4.5  # stays in the panel
    (ink,) = ink_on(np.array([to_rgb(colour)]))
    plate = dict(boxstyle="round,pad=0.15", facecolor=colour, linewidth=0)
    style = dict(size=4, color=ink, ha="center", va="center", zorder=4, bbox=plate)
    axes.annotate(str(agent), at, (aside, 4.0), textcoords="offset points", **style)


def _draw_curves(page: Page, plays: Sequence[Play], numbers: pd.DataFrame) -> None:
    """The measures over time, of all battles, all policies in one panel."""
    styles = _styles(plays)
    names = [play.name for play in plays]
    lines = [Line2D([], [], color=colour, linestyle=line) for colour, line in styles]
    page.add_legend(dict(zip(names, lines, strict=True)))
    page.y += _LINE / 2
    width = (_WIDTH - _MARGIN) / len(_MEASURES) - _LEFT_OF_CURVES
    for column, (name, heading) in enumerate(_MEASURES.items()):
        x = _LEFT_OF_CURVES + column * (width + _LEFT_OF_CURVES)
        axes = page.add(x, width, _CURVES, below=1.3 * _LINE)
        axes.set_title(heading)
        for play, (colour, line) in zip(plays, styles, strict=True):
            own = _of(numbers, play.policy)
            for prefix, strength, thickness in (("", 0.6, 0.5), ("living_", 1.0, 1.1)):
                curve = _curve(own, prefix + name)
                style = dict(color=colour, linestyle=line, linewidth=thickness, alpha=strength)
                axes.plot(curve.index, curve["value"], **style)
            axes.fill_between(
                curve.index, curve["low"], curve["high"], color=colour, alpha=0.18, linewidth=0
            )
        _scale(axes, plays)
    page.y += 1.3 * _LINE + _CURVES + _BELOW_CURVES


def _styles(plays: Sequence[Play]) -> list[tuple[str, object]]:
    """Colour and line of each policy: policies of one method differ in their lines."""
    algorithms = [play.policy.config.algorithm for play in plays]
    return [
        (labels.plot_style(name).colour, _LINES[algorithms[:place].count(name) % len(_LINES)])
        for place, name in enumerate(algorithms)
    ]


def _of(numbers: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    identity = policy.config.identity
    return numbers[(numbers[list(identity)] == list(identity.values())).all(axis=1)]


def _curve(numbers: pd.DataFrame, name: str) -> pd.DataFrame:
    """Mean over battles and its interval by decision, as long as enough battles last."""
    means = per_battle(numbers, name)
    means = means.loc[:, means.notna().mean() >= _LASTING]
    points = [interval(means[step].to_numpy()) for step in means]
    points = np.array(points).reshape(-1, 3)
    return pd.DataFrame(points, means.columns, ["value", "low", "high"])


def _scale(axes: Axes, plays: Sequence[Play]) -> None:
    """Ticks; decisions along the time axis, with a mark at each that has a still."""
    sns.despine(ax=axes)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.ticklabel_format(axis="y", scilimits=(-2, 3))
    axes.yaxis.get_offset_text().set(size=5, x=-0.2)
    last = max((max(line.get_xdata(), default=0) for line in axes.lines), default=0)
    if not last:
        axes.set(xticks=[], yticks=[])
        style = dict(ha="center", va="center", color=GREY, size=6, transform=axes.transAxes)
        axes.text(0.5, 0.5, "undefined: as many\nclusters as agents", **style)
        return
    for step in {step for play in plays for step in play.steps}:
        axes.axvline(step, color="#BBBBBB", linewidth=0.5, linestyle=(0, (2, 2)), zorder=0)
    axes.set_xlim(1, max(last, 2))
    axes.set_xlabel("decision t")


def _draw_footer(page: Page, plays: Sequence[Play]) -> None:
    count = labels.count([len(play.battles) for play in plays], "greedy battle")
    text = (
        "Numbers are the agents'. Squares: t-SNE of the roles z of all agents in this decision"
        " (perplexity 2, as in R3DM's figure 4) and in the decisions of many battles together"
        " (perplexity 30). Colour: k-means cluster of z among the agents of the decision, named"
        " over time after its members. Shape: cluster of the contrastive loss, on the embeddings e."
        f" Hollow: dead. Curves: mean over {count} of each policy with 95 % bootstrap interval, as"
        f" long as {100 * _LASTING:.0f} % of them last; thick: of the living, clustered among"
        " themselves, thin: the dead included. Next role: the nearest centre of another cluster."
        " Policy divergence: KL between an agent's policy and its mean over the roles of all. Other"
        " action: share of the teammates in whose role the agent would act otherwise. A policy is"
        " one run; other runs of its method may differ."
    )
    for line in textwrap.wrap(text, 190):
        page.write(_MARGIN, line, size=5, color=GREY)
        page.y += 0.75 * _LINE
