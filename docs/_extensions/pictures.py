"""Move the pictures that a program of the gallery saves to its page."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sphinx_gallery.scrapers import figure_rst


def scrape(block: Any, variables: dict[str, Any], config: dict[str, Any]) -> str:
    """Return the markup for the PNG files that the block has saved beside the program."""
    targets, titles = [], []
    for picture in sorted(Path(variables["src_file"]).parent.glob("*.png")):
        target = next(variables["image_path_iterator"])
        shutil.move(picture, target)
        targets.append(target)
        titles.append(picture.stem.replace("-", " "))
    return str(figure_rst(targets, config["src_dir"], ", ".join(titles)))
