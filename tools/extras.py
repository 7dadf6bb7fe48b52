"""Print the requirements of the named extras of pyproject.toml, for pip's command line."""

import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def main(names: list[str]) -> None:
    """Print one requirement a word; requirements hold no blanks here."""
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    print(" ".join(requirement for name in names for requirement in extras[name]))


if __name__ == "__main__":
    main(sys.argv[1:])
