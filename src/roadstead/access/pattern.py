"""What a rule names: one repository, everything below a folder, or everything."""

from dataclasses import dataclass
from typing import Final, Self

from roadstead.access.errors import RuleInvalidError
from roadstead.access.visible_repositories import AFTER_NAME, AFTER_SLASH, ALL_NAMES, NameRange
from roadstead.oci import RepositoryName
from roadstead.oci.errors import NameInvalidError

EVERYTHING: Final = "*"
BELOW: Final = "/*"


@dataclass(frozen=True, slots=True)
class RepositoryPattern:
    """``team/app`` is that repository, ``team/*`` all below ``team`` at any depth but not ``team``, ``*`` all."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The pattern that ``text`` spells.

        Raises:
            RuleInvalidError: it is none of the three kinds, or no repository could have such a name.
        """
        if text != EVERYTHING:
            try:
                RepositoryName.parse(text.removesuffix(BELOW))
            except NameInvalidError as error:
                raise RuleInvalidError(text, _reason(text, error)) from None
        return cls(text)

    @property
    def range(self) -> NameRange:
        """The names that match."""
        if self.text == EVERYTHING:
            return ALL_NAMES
        if self.text.endswith(BELOW):
            return NameRange(self.text[:-1], self.text[: -len(BELOW)] + AFTER_SLASH)
        return NameRange(self.text, self.text + AFTER_NAME)


def _reason(text: str, error: NameInvalidError) -> str:
    if "*" in text.removesuffix(BELOW):
        return "* stands alone, or for everything below a folder as in team/*"
    return f"no repository has such a name: {error}"
