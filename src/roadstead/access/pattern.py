"""The names that a rule is for: one repository, everything below a folder, a project, or everything."""

from dataclasses import dataclass
from typing import Final, Self

from roadstead.access.errors import RuleInvalidError
from roadstead.access.visible_repositories import AFTER_NAME, AFTER_SLASH, ALL_NAMES, SLASH, NameRange
from roadstead.oci import RepositoryName
from roadstead.oci.errors import NameInvalidError

EVERYTHING: Final = "*"
BELOW: Final = "/*"
PROJECT: Final = "project:"
"""No name has a colon, so that this is the name of nothing else."""

LIBRARY: Final = "library"
"""The project of repositories whose names have no slash, and of those below a folder of its name."""


@dataclass(frozen=True, slots=True)
class RepositoryPattern:
    """Returns the pattern that a text of one of these kinds means.

    ====================  ===========================================================================================
    ``team/app``          that repository
    ``team/*``            all below ``team`` at any depth, but not ``team``
    ``project:team``      the same, since a project is the first part of a name
    ``project:library``   all below ``library``, and the names without a slash, which have no project of their own
    ``*``                 all
    ====================  ===========================================================================================
    """

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The pattern that ``text`` spells.

        Raises:
            RuleInvalidError: it is none of these kinds, or no repository could have such a name.
        """
        if text.startswith(PROJECT) and SLASH in text:
            raise RuleInvalidError(text, "a project is the first part of a name, and has no slash")
        if text != EVERYTHING:
            try:
                RepositoryName.parse(text.removeprefix(PROJECT).removesuffix(BELOW))
            except NameInvalidError as error:
                raise RuleInvalidError(text, _reason(text, error)) from None
        return cls(text)

    @property
    def is_unslashed(self) -> bool:
        """True if all names without a slash match, which no ranges can say: ``a`` < ``a/b`` < ``ab``."""
        return self.text == PROJECT + LIBRARY

    @property
    def ranges(self) -> tuple[NameRange, ...]:
        """The names that match, beside what ``is_unslashed`` says."""
        if self.text == EVERYTHING:
            return (ALL_NAMES,)
        folder = self._folder
        if folder:
            return (NameRange(folder + SLASH, folder + AFTER_SLASH),)
        return (NameRange(self.text, self.text + AFTER_NAME),)

    def matches(self, name: str) -> bool:
        """Returns True if a repository of this name is meant."""
        folder = self._folder
        if folder:
            return name.startswith(folder + SLASH) or (self.is_unslashed and SLASH not in name)
        return self.text in (EVERYTHING, name)

    @property
    def _folder(self) -> str:
        """The folder that the names that match are below; empty where the pattern is no folder's."""
        if self.text.startswith(PROJECT):
            return self.text.removeprefix(PROJECT)
        return self.text.removesuffix(BELOW) if self.text.endswith(BELOW) else ""


def _reason(text: str, error: NameInvalidError) -> str:
    if "*" in text.removesuffix(BELOW):
        return "* stands alone, or for everything below a folder as in team/*"
    return f"no repository has such a name: {error}"
