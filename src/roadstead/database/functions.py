"""Scripts as functions of PostgreSQL, each run in one round trip by a transaction of its own.

A function in PL/pgSQL runs its statements as a transaction in READ COMMITTED would: each sees what was committed before
it began, so locks that come first are worth the same inside as outside. It is named after a hash of its text, so that
replicas of two versions each find their own; whoever needs one that is not there makes it. What it is made of comes
from this package alone: names and values of clients are parameters.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from sqlalchemy import Integer, LargeBinary, Select, Text
from sqlalchemy.sql.dml import ReturningInsert
from sqlalchemy.types import TypeEngine

from roadstead.database.locks import Lock, NameLock, in_order
from roadstead.database.script import Condition, End, Script, Step, statement_of

ENDED: Final = "RS001"
"""The SQLSTATE with which a script ends early; the message is its outcome."""

_PLACE: Final = re.compile(r"\$(\d+)")
_TAKE: Final = """\
  PERFORM set_config('lock_timeout', _wait, true);
  IF _fast THEN PERFORM set_config('synchronous_commit', 'off', true); END IF;
  FOR _i IN 1 .. coalesce(array_length(_keys, 1), 0) LOOP
    IF _changes[_i] THEN PERFORM pg_advisory_xact_lock(_keys[_i]);
    ELSE PERFORM pg_advisory_xact_lock_shared(_keys[_i]);
    END IF;
  END LOOP;
"""
_HEAD: Final = ("_wait text", "_fast boolean", "_keys bigint[]", "_changes boolean[]")
"""The parameters that every function has before those of its script."""


class ScriptFunction:
    """The function of one script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        kinds = _kinds_of(script)
        self.parameters: Final = tuple(sorted(script.parameters))
        taken = ", ".join((*_HEAD, *(f"{_spell(name)} {kinds[name]}" for name in self.parameters)))
        given = ", ".join(f"_r_{name} {kinds[name]}" for name in script.returns) or "_r_nothing bigint"
        body = self._body(kinds)
        digest = hashlib.blake2b(f"{taken}\n{given}\n{body}".encode(), digest_size=6).hexdigest()
        self.name: Final = f"roadstead_{script.name}_{digest}"
        self.creation: Final = (
            f"CREATE FUNCTION {self.name}({taken}) RETURNS TABLE({given}) LANGUAGE plpgsql VOLATILE AS"
            f" $roadstead$\n{body}$roadstead$"
        )
        places = ", ".join(f"${number}" for number in range(1, len(_HEAD) + len(self.parameters) + 1))
        self.call: Final = f"SELECT * FROM {self.name}({places})"  # noqa: S608 - the name is made here

    def _body(self, kinds: dict[str, str]) -> str:
        declared = "".join(f"  {_spell(name)} {kinds[name]};\n" for name in self.script.made)
        steps = "".join(map(_render, self.script.steps))
        results = "".join(f"  _r_{name} := {_spell(name)};\n" for name in self.script.returns)
        return f"DECLARE\n  _n bigint;\n{declared}BEGIN\n{_TAKE}{steps}{results}  RETURN NEXT;\nEND\n"

    def arguments(
        self, values: Mapping[str, object], locks: Iterable[NameLock], *, wait_ms: int, durable: bool
    ) -> tuple[object, ...]:
        """Returns what ``call`` is given.

        Raises:
            KeyError: a parameter is missing.
        """
        taken = in_order(locks)
        keys, changes = [key for key, _ in taken], [lock is Lock.CHANGE for _, lock in taken]
        return (str(wait_ms), not durable, keys, changes, *(values[name] for name in self.parameters))


def _spell(name: str) -> str:
    return f"_v_{name}"


def _render(step: Step | End) -> str:
    if isinstance(step, End):
        return f"  IF {_condition(step.when)} THEN {_end(step.outcome)} END IF;\n"
    sql, names, constants = statement_of(step).parts_for_postgresql()
    known = {**constants, **step.fixed}
    words = [_literal(known[name]) if name in known else _spell(step.binds.get(name, name)) for name in names]
    told = _PLACE.sub(lambda found: words[int(found[1]) - 1], sql)
    into = f" INTO {', '.join(map(_spell, step.gives))}" if step.gives else ""
    lines = [f"  {told}{into};"]
    if step.counts or step.otherwise:
        lines.append("  GET DIAGNOSTICS _n = ROW_COUNT;")
    if step.counts:
        lines.append(f"  {_spell(step.counts)} := _n;")
    if step.otherwise:
        lines.append(f"  IF _n = 0 THEN {_end(step.otherwise)} END IF;")
    if step.when is None:
        return "\n".join(lines) + "\n"
    return "\n".join([f"  IF {_condition(step.when)} THEN", *lines, "  END IF;"]) + "\n"


def _condition(when: Condition) -> str:
    return when.sql(_spell)


def _end(outcome: str) -> str:
    return f"RAISE EXCEPTION USING ERRCODE = '{ENDED}', MESSAGE = {_literal(outcome)};"


def _literal(value: object) -> str:
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    raise TypeError(f"no constant of a statement: {value!r}")


def _kinds_of(script: Script) -> dict[str, str]:
    """PostgreSQL's type of each value, by where statements use it, or by what it is compared with.

    Raises:
        TypeError: a statement does not say what one of its parameters is.
    """
    kinds: dict[str, str] = {}
    for step in script.steps:
        if isinstance(step, Step):
            known = statement_of(step).kinds()
            kinds |= {step.binds.get(name, name): _kind(name, known[name]) for name in statement_of(step).parameters}
            element = cast("Select[Any] | ReturningInsert[Any]", statement_of(step).element)
            columns = list(element.exported_columns) if step.gives else []
            kinds |= {name: _kind(name, column.type) for name, column in zip(step.gives, columns, strict=True)}
            if step.counts:
                kinds[step.counts] = "bigint"
    for step in script.steps:
        for one, other in step.when.alike if step.when else ():
            kinds.setdefault(one, kinds.get(other, "bigint"))
            kinds.setdefault(other, kinds[one])
        kinds = dict.fromkeys(step.when.names if step.when else (), "bigint") | kinds
    return kinds


def _kind(name: str, kind: TypeEngine[Any]) -> str:
    for type_, word in ((Integer, "bigint"), (LargeBinary, "bytea"), (Text, "text")):
        if isinstance(kind, type_):
            return word
    raise TypeError(f"say of what type {name} is: parameter(name, TYPE)")
