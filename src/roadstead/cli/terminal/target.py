"""The repository, tag or digest given to a command: ``REPOSITORY``, ``REPOSITORY:TAG`` or ``REPOSITORY@DIGEST``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
from click.shell_completion import CompletionItem

from roadstead.cli.terminal.local_names import find_repositories, find_tags
from roadstead.errors import RoadsteadError
from roadstead.oci import Digest, RepositoryName, Tag


@dataclass(frozen=True, slots=True)
class Target:
    """A repository, and a tag or digest in it if one was named."""

    repository: RepositoryName
    reference: Tag | Digest | None = None

    def __str__(self) -> str:
        """Returns the target as it is typed."""
        return spell(self.repository, self.reference) if self.reference else self.repository


def spell(repository: str, reference: str) -> str:
    """Returns a tag or digest with its repository, as docker spells it."""
    return f"{repository}{'@' if ':' in reference else ':'}{reference}"


class TargetType(click.ParamType[Target]):
    """A parameter that takes a target, completed from the catalogue in ``--data``."""

    name = "ref"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Target:  # noqa: ANN401 - click's
        """Parses a target; a malformed one is reported as a mistake in the use of the command."""
        if isinstance(value, Target):
            return value
        try:
            return parse_target(str(value))
        except (RoadsteadError, ValueError) as error:
            self.fail(f"{value!r}: {error}", param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002 - click's
        """Proposes repositories, and after a colon the tags of one."""
        repository, colon, tag = incomplete.partition(":")
        data = ctx.params.get("data")
        if colon:
            return [CompletionItem(spell(repository, name)) for name in find_tags(data, repository, tag)]
        return [CompletionItem(name) for name in find_repositories(data, incomplete)]


class RepositoryType(click.ParamType[RepositoryName]):
    """A parameter that takes a repository's name, completed from the catalogue in ``--data``."""

    name = "repo"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> RepositoryName:  # noqa: ANN401 - click's
        """Parses a repository's name."""
        target = TargetType().convert(value, param, ctx)
        if target.reference is not None:
            self.fail(f"{value!r}: name a repository alone, or use `roadstead inspect {value}`", param, ctx)
        return target.repository

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002 - click's
        """Proposes repositories."""
        return [CompletionItem(name) for name in find_repositories(ctx.params.get("data"), incomplete)]


def parse_target(text: str) -> Target:
    """Parses a target.

    Raises:
        ValueError: it begins with a registry's address, or has both a tag and a digest.
        NameInvalidError, TagInvalidError, DigestInvalidError: a part of it is malformed.
    """
    host, slash, rest = text.partition("/")
    if slash and (":" in host or host == "localhost"):
        raise ValueError(f"leave out the registry's address: {rest}")
    name, at, digest = text.partition("@")
    name, colon, tag = name.partition(":")
    if at and colon:
        raise ValueError("name a tag or a digest, not both")
    reader: Callable[[str], Tag | Digest] = Digest.parse if at else Tag.parse
    reference = reader(digest or tag) if at or colon else None
    return Target(RepositoryName.parse(name), reference)
