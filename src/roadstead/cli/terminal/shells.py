"""Answers shells that ask for completions, and makes the scripts that have them ask."""

import os
from typing import ClassVar, Final

from click.shell_completion import (
    BashComplete,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

COMPLETION_VARIABLE: Final = "_ROADSTEAD_COMPLETE"
"""Variable that the completion scripts set; click answers the shell then, instead of running a command."""

_BASH: Final = """\
%(complete_func)s() {
    local IFS=$'\\n' line="${COMP_LINE:0:COMP_POINT}" word before="" response completion type value
    response=$(env COMP_WORDS="$line" %(complete_var)s=bash_complete "$1")
    word="${line##* }"
    # bash breaks words at colons, so only what follows the last one is to be replaced
    if [[ $COMP_WORDBREAKS == *:* && $word == *:* ]]; then
        before="${word%%"${word##*:}"}"
    fi
    COMPREPLY=()
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$before"}") ;;
        esac
    done
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class ColonBashComplete(BashComplete):
    """Completion for bash that keeps ``repository:tag`` together."""

    source_template: ClassVar[str] = _BASH

    def source(self) -> str:
        """Returns the script, without starting bash to ask for its version."""
        return ShellComplete.source(self)

    def get_completion_args(self) -> tuple[list[str], str]:
        """Returns the words before the cursor, and the word that it stands in."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        return (words, "") if not words or line[-1:].isspace() else (words[:-1], words[-1])


SHELLS: Final[dict[str, type[ShellComplete]]] = {"bash": ColonBashComplete, "zsh": ZshComplete, "fish": FishComplete}


def register() -> None:
    """Registers our own completion for bash with click."""
    add_completion_class(ColonBashComplete, "bash")
