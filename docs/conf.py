"""Settings of the documentation's builder: `make docs`."""

import importlib.metadata

project = "Fairlead"
copyright = "2026, the Fairlead authors"
author = "The Fairlead authors"
release = importlib.metadata.version("fairlead")

extensions = ["myst_parser"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nitpicky = True

html_theme = "furo"
html_title = f"Fairlead {release}"
html_show_sourcelink = False
