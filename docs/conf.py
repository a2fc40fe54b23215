"""How Sphinx builds these pages: `python -m sphinx -W docs build/docs`, where ``-W`` makes every warning an error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import reference  # noqa: E402

import gpugrad  # noqa: E402

project = "gpugrad"
version = release = gpugrad.__version__
html_title = f"gpugrad {version}"
html_theme = "furo"
html_show_copyright = False
html_show_sourcelink = html_copy_source = False
pygments_style, pygments_dark_style = "friendly", "monokai"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["pictures"]
myst_heading_anchors = 3  # [text](page.md#heading), as on GitHub
myst_enable_extensions = ["html_image"]
suppress_warnings = ["myst.strikethrough"]

default_role = "py:obj"  # `name` in a docstring is code, and a link where it names something here
add_module_names = False
autodoc_typehints = "none"  # docstrings say what is not obvious
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "rule, state_names"}
napoleon_google_docstring = False
napoleon_use_param = False  # "lr, rho : float" stays one entry
napoleon_use_rtype = False


def setup(app: Any) -> None:
    """Write the pages of the reference before any page is read."""
    app.connect("builder-inited", lambda app: reference.write(HERE / "api"))
    app.connect("autodoc-process-docstring", _before_napoleon, priority=100)


def _before_napoleon(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Make the sections that napoleon sees those that are meant.

    A short docstring has its example at its end without a heading; below "Parameters" it would be taken for one. What stands
    before a colon in the first line about a property would be taken for its type.
    """
    if what in ("property", "attribute") and lines and ": " in lines[0]:
        before, behind = lines[0].split(": ", 1)
        lines[:1] = [f"{before}:", behind]
    first = next((i for i, line in enumerate(lines) if line.startswith(">>>")), None)
    if first and "Examples" not in lines and "Parameters" in lines[:first]:
        lines[first:first] = ["Examples", "--------"]
