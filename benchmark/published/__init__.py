"""Published results as data: read them, check them, redraw them, judge what is claimed from them.

The way of a number, one module per step:

* ``archive``, ``formats``, ``sources``: the files of a release (folder, clone or zip), the formats
  they come in, and the mapping file that says which file holds which method on which map;
* ``table``, ``intake``: one table of evaluations for every release, each original value kept;
* ``rules``, ``audit``: what is wrong with it, found by rule; what is left out because of that;
* ``runs``: one score per run, also where only a group's mean, minimum and maximum were released;
* ``notebook``, ``redraw``: the paper's figures, as their authors drew them and from cleaned data;
* ``inference``, ``claims``: which of the paper's claims the numbers carry;
* ``facts``: the distilled facts that the repository keeps, in ``results/published/``;
* ``compare``: our own runs compared with these facts; ``document``: ``docs/published_audit.md``.

Numbers of different backends stand side by side, each with its name, and never in one statistic.
"""
