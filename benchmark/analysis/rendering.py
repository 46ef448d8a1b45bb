"""How pages are made from templates: Markdown of the documents, HTML of the report."""

from pathlib import Path

import jinja2

from benchmark.analysis import labels


def templates(*folders: Path, html: bool = False) -> jinja2.Environment:
    """The templates in folders; a name that a page is not given is an error.

    Args:
        html: whether values are escaped.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=html,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(label=labels.label)
    environment.filters.update(label=labels.label, number="{:,.0f}".format)
    return environment
