"""Which files make the configuration: `-config FILE`, then what is in `-config-dir DIR`.

Owns the choice and its order. Reads folders, never files.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from llamaswap_lib.errors import ConfigError

SUFFIXES = (".yml", ".yaml")


class Sources(NamedTuple):
    """What the command line names; which files that comes to may be different tomorrow."""

    file: Path | None
    folder: Path | None = None

    def files(self) -> list[Path]:
        """The files that there are now; as `config_files`."""
        return config_files(self.file, self.folder)


def config_files(file: Path | None, folder: Path | None) -> list[Path]:
    """The files to load, in the order in which they are merged. Raises ConfigError."""
    if file is None and folder is None:
        raise ConfigError("no configuration: name a file with -config or a folder with -config-dir")
    found = [] if folder is None else _in_folder(folder)
    if file is not None and any(one.absolute() == file.absolute() for one in found):
        raise ConfigError(f"{file} is given with -config and lies in {folder} too; it can be only one of the two")
    files = ([] if file is None else [file]) + found
    if not files:
        raise ConfigError(f"no configuration: there is no *.yml or *.yaml in {folder}")
    return files


def _in_folder(folder: Path) -> list[Path]:
    """Its YAML files in byte order of their names; subfolders do not count."""
    try:
        found = [one for one in folder.iterdir() if one.suffix in SUFFIXES and not one.is_dir()]
    except OSError as error:
        raise ConfigError(f"{folder}: cannot read this folder: {error.strerror}") from None
    return sorted(found, key=lambda one: one.name)
