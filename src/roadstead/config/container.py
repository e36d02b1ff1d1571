"""Defaults in a container of the project's image, which sets ``ROADSTEAD_CONTAINER``.

Its defaults are those of registry:2's image: every address of the container, port 5000, data in
``/var/lib/registry``. A file of settings mounted where ours or registry:2's has its place is read without being named.
Everything that somebody sets, in whatever way, goes before.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from roadstead.config.reading import GivenValue
from roadstead.config.registry2 import Mapping as MappingNode
from roadstead.config.registry2 import Registry2Configuration, key_of_variable, parse, read_tree, registry_variables

CONTAINER_VARIABLE: Final = "ROADSTEAD_CONTAINER"
SETTINGS_FILES: Final = (
    Path("/etc/roadstead/roadstead.yaml"),
    Path("/etc/docker/registry/config.yml"),  # registry:2's image has its own here
    Path("/etc/distribution/config.yml"),  # and registry:3's here
)
"""Settings files that are looked for if none is named; the first that is there is read."""

_SOURCE: Final = "the image"
_DEFAULTS: Final = {
    "listen.main": "0.0.0.0:5000",
    "listen.operations": "127.0.0.1:5001",  # where the health check looks, also beside a file of registry:2
    "data.folder": "/var/lib/registry",
}
_REGISTRY2_DEFAULTS: Final = b"{version: 0.1, storage: {filesystem: {rootdirectory: /var/lib/registry}}}"
"""The relevant part of the file in registry:2's image, over which people lay variables."""


def runs_in_container(environment: Mapping[str, str]) -> bool:
    """Returns True in a container of the project's image, or of one that declares itself to be like it."""
    return bool(environment.get(CONTAINER_VARIABLE))


def container_defaults() -> Iterator[GivenValue]:
    """Yields the values that hold in a container unless somebody sets others."""
    for key, text in _DEFAULTS.items():
        yield GivenValue(key, text, _SOURCE, is_text=True)


def find_settings_file() -> Path | None:
    """Returns the settings file that was mounted, or None."""
    return next((file for file in SETTINGS_FILES if file.exists()), None)


def read_variables_alone(environment: Mapping[str, str]) -> Registry2Configuration | None:
    """Reads registry:2's variables as laid over the file of its image; returns None if there are none.

    Raises:
        SettingsInvalidError: a variable does not fit.
    """
    tree = parse(_REGISTRY2_DEFAULTS, _SOURCE)
    names = [name for name, _ in registry_variables(environment) if key_of_variable(name) is not None]
    return read_tree(tree, _SOURCE, environment) if names and isinstance(tree, MappingNode) else None
