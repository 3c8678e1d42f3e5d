"""How Sphinx builds the pages."""

from importlib.metadata import version as version_of

project = "Onward"
author = "Onward contributors"
copyright = "2026, Onward contributors"  # noqa: A001 - Sphinx names it so
release = version = version_of("onward")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
myst_heading_anchors = 3  # which links lead to
html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["pages.css"]
autodoc_member_order = "bysource"
copybutton_exclude = ".linenos, .gp, .go"
