"""The suite that every database runs (see ``roadstead.database.protocol``).

Subclass ``DatabaseContract`` in a test module of asynchronous tests and give it a fixture ``replicas``: two databases
that are open on one catalogue with this version's schema, as two processes have it.
"""

import asyncio
import functools
from collections.abc import Awaitable

from sqlalchemy import BigInteger, Text, cast, func, insert, select, update

from roadstead.database import (
    TEXT,
    Database,
    End,
    Lock,
    LockingStatement,
    NameLock,
    Row,
    Script,
    ScriptEndedError,
    Statement,
    Step,
    Transaction,
    as_list,
    listed,
    parameter,
)
from roadstead.database.insert import insert_or_skip, insert_or_update
from roadstead.database.script import AGAIN, absent, differ, given, none, run_steps, some
from roadstead.jobs import find_state, lock_state, save_state
from roadstead.jobs.tables import states
from roadstead.registry.tables import blobs, repositories

Replicas = tuple[Database, Database]

_ADD_REPOSITORY = Statement(
    insert(repositories).values(name=parameter("name"), created_ms=parameter("created_ms")).returning(repositories.c.id)
)
_ENSURE_REPOSITORY = Statement(insert_or_skip(repositories, "name", "created_ms"))
_LIST_REPOSITORIES = Statement(
    select(repositories.c.name, repositories.c.created_ms, repositories.c.removed_ms)
    .where(repositories.c.name > parameter("after"))
    .order_by(repositories.c.name)
    .limit(100)
)
_LIST_THOSE = Statement(
    select(repositories.c.name).where(repositories.c.name.in_(listed("names"))).order_by(repositories.c.name)
)
_LOCK_REPOSITORIES = LockingStatement(
    select(repositories.c.name).where(repositories.c.name > parameter("after")).order_by(repositories.c.id),
    Lock.CHANGE,
)
_REMOVE = Statement(
    update(repositories).where(repositories.c.name == parameter("name")).values(removed_ms=parameter("now_ms"))
)
_COUNT_STATES = Statement(
    select(func.count()).where(states.c.name >= parameter("first"), states.c.name < parameter("end"))
)
_SUCCESSOR = Statement(select(cast(cast(parameter("number", TEXT), BigInteger) + 1, Text)))
_ECHO = Statement(select(parameter("text", TEXT)))
_LOCK_STATE = LockingStatement(select(states.c.value).where(states.c.name == parameter("name")), Lock.CHANGE)
_ADD_BLOB = Statement(insert(blobs).values(digest=parameter("digest"), size_bytes=parameter("size"), created_ms=1))
_SIZES = Statement(select(blobs.c.size_bytes).order_by(blobs.c.digest).limit(10))

_FIND_REPOSITORY = Statement(select(repositories.c.created_ms).where(repositories.c.name == parameter("name")))
_FIND_NOTE = Statement(select(states.c.value).where(states.c.name == parameter("name")))
_SAVE_NOTE = Statement(insert_or_update(states, "name", "value", key=("name",)))
_ENSURE_AND_NOTE = Script(
    "ensure_and_note",
    End(absent("created_ms"), "nothing made"),
    Step(_ENSURE_REPOSITORY, counts="is_new"),
    Step(_FIND_REPOSITORY, gives=("found_ms",), otherwise=AGAIN),
    Step(_FIND_NOTE, gives=("before",), fixed={"name": "note"}),
    Step(
        _SAVE_NOTE,
        when=given("note") & (some("is_new") | none("found_ms")),
        binds={"value": "note"},
        fixed={"name": "note"},
    ),
    End(differ("found_ms", "wanted"), "it's another"),
    returns=("found_ms", "is_new", "before"),
)
_COUNT_UP = Script(
    "count_up",
    Step(_FIND_NOTE, gives=("found",)),
    Step(_SAVE_NOTE, when=absent("found"), binds={"value": "first"}),
    Step(_FIND_NOTE, when=absent("found"), gives=("found",)),
    Step(_SUCCESSOR, gives=("next",), binds={"number": "found"}),
    Step(_SAVE_NOTE, binds={"value": "next"}),
    returns=("found",),
)


async def add(database: Database, *names: str, durable: bool = True) -> None:
    """Adds repositories in one transaction."""

    async def work(transaction: Transaction) -> None:
        await transaction.execute_many(_ENSURE_REPOSITORY, [{"name": name, "created_ms": 1} for name in names])

    await database.write(work, durable=durable)


async def names(database: Database) -> list[str]:
    """The repositories that are there, in order."""
    return [row[0] for row in await database.fetch_all(_LIST_REPOSITORIES, after="")]


async def raised(work: Awaitable[object]) -> BaseException | None:
    """The error that ``work`` ends with."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 - it is looked at
        return error
    return None


class DatabaseContract:
    """The suite: what the rest of the package relies on."""

    async def test_what_is_committed_is_seen_by_every_replica(self, replicas: Replicas) -> None:
        one, two = replicas
        await add(one, "a", "b")
        assert await names(one) == await names(two) == ["a", "b"]
        await add(two, "c", durable=False)
        assert await names(one) == await names(two) == ["a", "b", "c"]

    async def test_a_transaction_sees_its_own_changes_and_nobody_else_does_before_its_end(
        self, replicas: Replicas
    ) -> None:
        one, two = replicas

        async def work(transaction: Transaction) -> list[Row]:
            await transaction.execute(_ENSURE_REPOSITORY, name="a", created_ms=7)
            return await transaction.fetch_all(_LIST_REPOSITORIES, after="")

        assert await two.fetch_one(_LIST_REPOSITORIES, after="") is None
        assert await one.write(work) == [("a", 7, None)]
        assert await two.fetch_one(_LIST_REPOSITORIES, after="") == ("a", 7, None)

    async def test_an_error_undoes_everything_and_comes_out(self, replicas: Replicas) -> None:
        one, _ = replicas

        async def work(transaction: Transaction) -> None:
            await transaction.execute(_ENSURE_REPOSITORY, name="a", created_ms=7)
            raise LookupError("as it is")

        assert repr(await raised(one.write(work))) == "LookupError('as it is')"
        assert await names(one) == []
        await add(one, "b")
        assert await names(one) == ["b"]

    async def test_an_error_of_the_work_is_not_taken_for_one_of_the_database(self, replicas: Replicas) -> None:
        one, _ = replicas
        runs: list[Exception] = []

        async def work(transaction: Transaction, error: Exception) -> None:
            runs.append(error)
            await transaction.execute(_ENSURE_REPOSITORY, name="a", created_ms=7)
            raise error

        errors = [OSError("not now"), TimeoutError("too late"), ConnectionResetError("of another connection")]
        for error in errors:
            assert await raised(one.write(functools.partial(work, error=error))) is error
        assert runs == errors
        assert await names(one) == []

    async def test_changes_are_counted(self, replicas: Replicas) -> None:
        one, _ = replicas
        await add(one, "a")

        async def work(transaction: Transaction) -> list[int]:
            return [
                await transaction.execute(_ENSURE_REPOSITORY, name="a", created_ms=2),
                await transaction.execute(_ENSURE_REPOSITORY, name="b", created_ms=2),
                await transaction.execute(_REMOVE, name="b", now_ms=3),
                await transaction.execute(_REMOVE, name="c", now_ms=3),
            ]

        assert await one.write(work) == [0, 1, 1, 0]

    async def test_a_new_row_s_key_is_returned(self, replicas: Replicas) -> None:
        one, _ = replicas

        async def work(transaction: Transaction) -> int:
            row = await transaction.fetch_one(_ADD_REPOSITORY, name="a", created_ms=1)
            assert row is not None
            return int(row[0])

        assert await one.write(work) > 0

    async def test_names_are_in_the_order_of_their_bytes(self, replicas: Replicas) -> None:
        """A locale would put ``a-b`` and ``a_b`` beside ``ab``, and a range of names could then leak one."""
        one, _ = replicas
        given = ["a", "a-b", "a.b", "a/b", "a0", "aB", "a_b", "ab", "B", "b", "é", "z", "中"]
        await add(one, *given)
        assert await names(one) == sorted(given, key=lambda name: name.encode())
        rows = await one.fetch_all(_LIST_REPOSITORIES, after="a.b")
        assert [row[0] for row in rows][:2] == ["a/b", "a0"]

    async def test_a_list_is_one_parameter(self, replicas: Replicas) -> None:
        one, _ = replicas
        await add(one, "a", 'b"c', "d\\e", "f")
        found = await one.fetch_all(_LIST_THOSE, names=as_list(['b"c', "d\\e", "missing"]))
        assert found == [('b"c',), ("d\\e",)]
        assert await one.fetch_all(_LIST_THOSE, names=as_list([])) == []

    async def test_sizes_have_64_bits_and_texts_every_letter(self, replicas: Replicas) -> None:
        one, _ = replicas
        sizes = [0, 2**31, 2**40, 2**63 - 1]

        async def work(transaction: Transaction) -> None:
            await transaction.execute_many(
                _ADD_BLOB, [{"digest": str(number), "size": size} for number, size in enumerate(sizes)]
            )

        await one.write(work)
        assert [row[0] for row in await one.fetch_all(_SIZES)] == sizes
        for text in ("", "'; --", "$1 ? %s :x", "\t\n", "中文 ✓ 🚢"):
            assert await one.fetch_one(_ECHO, text=text) == (text,)

    async def test_no_name_has_a_nul_and_it_sorts_below_all_others(self, replicas: Replicas) -> None:
        """PostgreSQL knows no such text; a client may ask with one all the same, alone or in a transaction."""
        one, _ = replicas
        await add(one, "a", "aa", "b")

        async def work(transaction: Transaction) -> tuple[Row | None, list[Row]]:
            await transaction.execute(_REMOVE, name="b", now_ms=1)
            first = await transaction.fetch_one(_LIST_REPOSITORIES, after="a\x00")
            locked = await transaction.lock_all(_LOCK_REPOSITORIES, after="a\x00")
            assert await transaction.lock_one(_LOCK_STATE, name="\x00") is None
            return first, locked

        assert await one.fetch_all(_LIST_REPOSITORIES, after="a\x00") == [("aa", 1, None), ("b", 1, None)]
        assert await one.fetch_one(_LIST_REPOSITORIES, after="\x00") == ("a", 1, None)
        assert await one.write(work) == (("aa", 1, None), [("aa",), ("b",)])
        assert await one.fetch_one(_LIST_REPOSITORIES, after="aa") == ("b", 1, 1)

    async def test_counting_up_loses_nothing(self, replicas: Replicas) -> None:
        """A text that is read, changed and written back, by two replicas at once."""

        async def work(transaction: Transaction) -> None:
            number = await lock_state(transaction, "number") or "0"
            await save_state(transaction, "number", str(int(number) + 1))

        await asyncio.gather(*(database.write(work, durable=False) for database in replicas * 20))
        assert await find_state(replicas[0], "number") == "40"

    async def test_a_row_that_is_locked_is_as_the_one_before_left_it(self, replicas: Replicas) -> None:
        await replicas[0].write(lambda transaction: save_state(transaction, "number", "0"))

        async def work(transaction: Transaction) -> None:
            row = await transaction.lock_one(_LOCK_STATE, name="number")
            assert row is not None
            await save_state(transaction, "number", str(int(row[0]) + 1))

        await asyncio.gather(*(database.write(work, durable=False) for database in replicas * 20))
        assert await find_state(replicas[1], "number") == "40"

    async def test_who_makes_what_is_not_there_is_told_what_another_made(self, replicas: Replicas) -> None:
        async def work(transaction: Transaction, mine: str) -> str:
            found = await lock_state(transaction, "key")
            if found is None:
                await save_state(transaction, "key", mine)
            return found or mine

        made = await asyncio.gather(
            *(
                database.write(functools.partial(work, mine=str(number)))
                for number, database in enumerate(replicas * 10)
            )
        )
        assert len(set(made)) == 1

    async def test_those_that_stand_in_each_other_s_way_all_come_through(self, replicas: Replicas) -> None:
        """Rows locked in opposite orders, by hand, and the same row inserted by everybody."""
        one, _ = replicas
        await one.write(lambda transaction: save_state(transaction, "a", "0"))
        await one.write(lambda transaction: save_state(transaction, "b", "0"))

        async def work(transaction: Transaction, order: tuple[str, str]) -> None:
            for name in order:
                row = await transaction.lock_one(_LOCK_STATE, name=name)
                assert row is not None
                await save_state(transaction, name, str(int(row[0]) + 1))

        await asyncio.gather(
            *(
                database.write(functools.partial(work, order=order), durable=False)
                for database in replicas
                for order in (("a", "b"), ("b", "a"))
            )
        )
        assert [await find_state(one, name) for name in "ab"] == ["4", "4"]

    async def test_a_script_is_one_transaction(self, replicas: Replicas) -> None:
        one, other = replicas
        values = {"name": "a", "created_ms": 3, "note": "seen", "wanted": 3}
        assert await one.run(_ENSURE_AND_NOTE, values) == (3, 1, None)
        assert await other.run(_ENSURE_AND_NOTE, {**values, "created_ms": 5}) == (3, 0, "seen")
        assert await other.run(_ENSURE_AND_NOTE, {**values, "note": None}, durable=False) == (3, 0, "seen")
        assert await find_state(one, "note") == "seen"

    async def test_a_script_that_ends_early_has_changed_nothing(self, replicas: Replicas) -> None:
        one, other = replicas
        for wanted, created_ms in ((4, 3), (None, 3), (3, None)):
            values = {"name": "a", "created_ms": created_ms, "note": "seen", "wanted": wanted}
            error = await raised(one.run(_ENSURE_AND_NOTE, values))
            assert isinstance(error, ScriptEndedError), error
            assert error.outcome == ("it's another" if created_ms else "nothing made")
        assert await names(other) == []
        assert await find_state(other, "note") is None

    async def test_a_script_takes_the_same_steps_in_a_transaction(self, replicas: Replicas) -> None:
        values = {"name": "a", "created_ms": 3, "note": "seen", "wanted": 3}
        for database in replicas:
            given = await database.write(lambda transaction: run_steps(_ENSURE_AND_NOTE, transaction, values))
            assert given == await database.run(_ENSURE_AND_NOTE, values) or given == (3, 1, None)
        error = await raised(
            replicas[0].write(lambda transaction: run_steps(_ENSURE_AND_NOTE, transaction, {**values, "wanted": 9}))
        )
        assert isinstance(error, ScriptEndedError)

    async def test_a_script_sees_what_it_has_waited_for(self, replicas: Replicas) -> None:
        """Locks on names come first, and each step sees what was committed before it."""
        locks = [NameLock(Lock.CHANGE, "number")]
        values = {"first": "0", "name": "number"}
        results = await asyncio.gather(
            *(database.run(_COUNT_UP, values, locks=locks, durable=False) for database in replicas * 20)
        )
        assert sorted(int(number) for (number,) in results) == list(range(40))

    async def test_scripts_that_make_the_same_all_come_through(self, replicas: Replicas) -> None:
        values = {"name": "a", "created_ms": 3, "note": "seen", "wanted": 3}
        results = await asyncio.gather(*(database.run(_ENSURE_AND_NOTE, values) for database in replicas * 10))
        assert sum(is_new for _, is_new, _ in results) == 1

    async def test_who_is_cancelled_before_it_began_has_changed_nothing(self, replicas: Replicas) -> None:
        one, _ = replicas
        began = False

        async def work(transaction: Transaction) -> None:
            nonlocal began
            began = True
            await transaction.execute(_ENSURE_REPOSITORY, name="a", created_ms=1)

        task = asyncio.create_task(one.write(work))
        task.cancel()
        assert isinstance(await asyncio.gather(task, return_exceptions=True), list)
        assert await names(one) == (["a"] if began else [])

    async def test_who_is_cancelled_in_the_middle_is_told_that_it_is_done(self, replicas: Replicas) -> None:
        one, _ = replicas
        told: list[str] = []

        async def work(transaction: Transaction) -> str:
            await transaction.execute(_ENSURE_REPOSITORY, name="a", created_ms=1)
            return "done"

        async def caller() -> None:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)
            told.append(await one.write(work))
            await asyncio.sleep(0)
            told.append("never")

        ended = await asyncio.gather(asyncio.create_task(caller()), return_exceptions=True)
        assert isinstance(ended[0], asyncio.CancelledError)
        assert told == (["done"] if await names(one) else [])

    async def test_a_timeout_is_still_a_timeout(self, replicas: Replicas) -> None:
        one, _ = replicas

        async def late() -> None:
            async with asyncio.timeout(0):
                await add(one, "a")
                await asyncio.sleep(10)

        assert isinstance(await raised(late()), TimeoutError)

    async def test_what_is_settled_is_read_behind_those_who_were_under_way(self, replicas: Replicas) -> None:
        """Whoever holds the name while another reads has been waited for, or the reader has given up."""
        one, two = replicas
        kept, changed = NameLock(Lock.KEEP, "settling"), NameLock(Lock.CHANGE, "settling")
        await asyncio.gather(
            *(
                database.write(functools.partial(save_state, name=f"settled-{number}", value=""), locks=[kept])
                for number, database in enumerate(replicas * 5)
            )
        )
        row = await two.fetch_settled(changed, _COUNT_STATES, first="settled-", end="settled.")
        assert row == (10,)
        assert await one.fetch_settled(changed, _COUNT_STATES, first="none-", end="none.") == (0,)

    async def test_closing_waits_for_what_is_under_way(self, replicas: Replicas) -> None:
        one, two = replicas
        writing = asyncio.create_task(add(one, "a"))
        await asyncio.sleep(0)
        await one.close()
        await writing
        assert await names(two) == ["a"]
