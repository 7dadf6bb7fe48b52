"""How Sphinx builds the site: these pages, and a reference made from the docstrings."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import flambeau  # noqa: E402

project = "Flambeau"
author = "The Flambeau authors"
copyright = author
version = release = flambeau.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "api_reference"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"Flambeau {version}"

myst_heading_anchors = 4
# Links out of the site (to the sources, say) stay links to files.
suppress_warnings = ["myst.xref_missing"]

# Constructors are described by their class; types that only annotate need no import.
autodoc_class_signature = "mixed"
autodoc_typehints = "none"
autodoc_member_order = "alphabetical"
autodoc_preserve_defaults = True
add_module_names = False
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Fields", "params_style"), ("Errors", "Raises")]
