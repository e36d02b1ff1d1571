"""Statements that belong together, said once, so that a server runs them all in one round trip.

A commit of a blob or a manifest is some ten statements. On SQLite each costs microseconds; on a server each is a trip
over the network, between which its locks are held. One statement of many parts would not do, since all of its parts see
the same moment, while who locks first and asks later must see what was committed while it waited. So a script is a list
of steps, each a statement that may run only under a condition, may give its first row's values to the steps after it,
and may end all of it. ``run_steps`` runs them one after the other in any transaction; ``roadstead.database.functions``
makes a function of them that PostgreSQL runs by itself, whose every statement sees what was committed before it.

Values have names: the parameters of the script, and what steps have given. All of them are texts, whole numbers, bytes
or None.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from roadstead.database.protocol import Row, Transaction
from roadstead.database.statement import LockingStatement, Statement

Values: TypeAlias = dict[str, Any]


class ScriptEndedError(Exception):
    """A script came to an end before its last step, and nothing that it has changed is kept."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class OvertakenError(Exception):
    """Another transaction has just made what this one was about to make: the database runs it again."""


AGAIN: Final = "again"
"""The outcome of a script that was overtaken; whoever runs it never sees it."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A question about values, for Python and for PL/pgSQL."""

    holds: Callable[[Values], bool]
    sql: Callable[[Callable[[str], str]], str]
    """Makes SQL, given what a value is called there."""
    names: tuple[str, ...]
    alike: tuple[tuple[str, str], ...] = ()
    """Values that are compared with each other, and so are of one type."""

    def __and__(self, other: "Condition") -> "Condition":
        return Condition(
            lambda values: self.holds(values) and other.holds(values),
            lambda spell: f"({self.sql(spell)} AND {other.sql(spell)})",
            self.names + other.names,
            self.alike + other.alike,
        )

    def __or__(self, other: "Condition") -> "Condition":
        return Condition(
            lambda values: self.holds(values) or other.holds(values),
            lambda spell: f"({self.sql(spell)} OR {other.sql(spell)})",
            self.names + other.names,
            self.alike + other.alike,
        )


def given(name: str) -> Condition:
    """The value is not None."""
    return Condition(lambda values: values[name] is not None, lambda spell: f"{spell(name)} IS NOT NULL", (name,))


def absent(name: str) -> Condition:
    """The value is None."""
    return Condition(lambda values: values[name] is None, lambda spell: f"{spell(name)} IS NULL", (name,))


def some(name: str) -> Condition:
    """The value is a number that is not 0."""
    return Condition(lambda values: bool(values[name]), lambda spell: f"coalesce({spell(name)}, 0) <> 0", (name,))


def none(name: str) -> Condition:
    """The value is 0, or None."""
    return Condition(lambda values: not values[name], lambda spell: f"coalesce({spell(name)}, 0) = 0", (name,))


def differ(one: str, other: str) -> Condition:
    """Two values are not the same."""
    return Condition(
        lambda values: values[one] != values[other],
        lambda spell: f"{spell(one)} IS DISTINCT FROM {spell(other)}",
        (one, other),
        ((one, other),),
    )


def same(one: str, other: str) -> Condition:
    """Two values are the same."""
    return Condition(
        lambda values: values[one] == values[other],
        lambda spell: f"{spell(one)} IS NOT DISTINCT FROM {spell(other)}",
        (one, other),
        ((one, other),),
    )


@dataclass(frozen=True, slots=True)
class Step:
    """A statement of a script."""

    statement: Statement | LockingStatement
    when: Condition | None = None
    """Where it does not hold the step is left out, and its values stay what they were."""
    gives: tuple[str, ...] = ()
    """Names for the columns of its first row; None each where it has no row."""
    counts: str = ""
    """Name for the number of rows that it has changed; not for a select."""
    otherwise: str = ""
    """The outcome with which the script ends if there is no row, or none was changed."""
    binds: Mapping[str, str] = field(default_factory=dict[str, str])
    """Names of values for parameters of the statement that are not called like their values."""
    fixed: Mapping[str, int | str] = field(default_factory=dict[str, int | str])
    """Parameters of the statement that are always the same here."""

    def names(self) -> tuple[str, ...]:
        """The values that it asks for."""
        asked = [self.binds.get(name, name) for name in sorted(statement_of(self).parameters) if name not in self.fixed]
        return (*(self.when.names if self.when else ()), *asked)

    def parameters_of(self, values: Values) -> Values:
        """Returns what its statement is given."""
        if not self.binds and not self.fixed:
            return values
        return {**values, **{name: values[bound] for name, bound in self.binds.items()}, **self.fixed}


@dataclass(frozen=True, slots=True)
class End:
    """Ends the script with ``outcome`` where ``when`` holds."""

    when: Condition
    outcome: str


class Script:
    """Steps, and the values that they leave."""

    def __init__(self, name: str, *steps: Step | End, returns: Sequence[str] = ()) -> None:
        """``name`` tells people what it is for; ``returns`` are the values of ``run``."""
        self.name = name
        self.steps: Final = steps
        self.returns: Final = tuple(returns)
        made = [made for step in steps if isinstance(step, Step) for made in (*step.gives, step.counts) if made]
        self.made: Final = tuple(dict.fromkeys(made))
        """Names of the values that its steps give."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the values that it must be given: what its steps ask for, and none of them makes."""
        asked: dict[str, None] = {}
        for step in self.steps:
            asked |= dict.fromkeys(step.names() if isinstance(step, Step) else step.when.names)
        return tuple(name for name in asked if name not in self.made)


def statement_of(step: Step) -> Statement:
    """The statement of a step, with its lock."""
    return step.statement.statement if isinstance(step.statement, LockingStatement) else step.statement


async def run_steps(script: Script, transaction: Transaction, values: Mapping[str, object]) -> Row:
    """Runs a script step by step, given the values that it asks for; what it ``returns``.

    Raises:
        ScriptEndedError: it came to an end before its last step: the transaction must not be kept.
    """
    known: Values = {**dict.fromkeys(script.made), **values}
    for step in script.steps:
        if step.when is not None and not step.when.holds(known):
            continue
        if isinstance(step, End):
            raise ended(step.outcome)
        await _run(step, transaction, known)
    return tuple([known[name] for name in script.returns])


async def _run(step: Step, transaction: Transaction, values: Values) -> None:
    parameters = step.parameters_of(values)
    if step.gives:
        if isinstance(step.statement, LockingStatement):
            row = await transaction.lock_one(step.statement, **parameters)
        else:
            row = await transaction.fetch_one(step.statement, **parameters)
        values.update(zip(step.gives, row or [None] * len(step.gives), strict=True))
        if step.counts:
            values[step.counts] = 0 if row is None else 1
        is_empty = row is None
    else:
        changed = await transaction.execute(statement_of(step), **parameters)
        if step.counts:
            values[step.counts] = changed
        is_empty = not changed
    if is_empty and step.otherwise:
        raise ended(step.otherwise)


def ended(outcome: str) -> Exception:
    """The error that says how a script ended."""
    return OvertakenError() if outcome == AGAIN else ScriptEndedError(outcome)
