"""Records as rows of a table, and back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Connection, Select, Table, bindparam, insert, select, update

from springtide.errors import LedgerError
from springtide.ledger.records import ChargeRecord, Event, JobRecord, MachineRecord, RunRecord, ScheduleRecord
from springtide.ledger.schema import charges, events, jobs, machines, runs, schedules

Record = TypeVar("Record", JobRecord, MachineRecord, RunRecord, ScheduleRecord, ChargeRecord, Event)


@dataclass(frozen=True)
class Rows(Generic[Record]):
    """A table and the record that each row is: the columns are ``number`` and the record's fields, in their order."""

    table: Table
    record: type[Record]

    def select(self) -> Select[Any]:
        """Return a question for whole records."""
        return select(*(column for column in self.table.c if column.name != "number"))

    def read(self, connection: Connection, question: Select[Any]) -> list[Record]:
        """Return the records that answer `question`."""
        return [self.record(*row) for row in connection.execute(question)]

    def add(self, connection: Connection, records: Iterable[Record]) -> None:
        """Write new rows."""
        rows = [{name: storable(value) for name, value in asdict(record).items()} for record in records]
        if rows:
            connection.execute(insert(self.table), rows)

    def update(self, connection: Connection, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Change rows, each named by its token, in as many statements as there are different sets of fields.

        Raises
        ------
        LedgerError
            If there is no such row.
        """
        alike: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
        for token, fields in changes.items():
            if fields:
                named = {f"new_{name}": storable(value) for name, value in fields.items()}
                alike[tuple(sorted(fields))].append({"the_token": storable(token), **named})
        for names, rows in alike.items():
            self._check(names)
            statement = update(self.table).where(self.table.c.token == bindparam("the_token"))
            changed = connection.execute(statement.values({name: bindparam(f"new_{name}") for name in names}), rows)
            if changed.rowcount != len(rows):
                raise LedgerError(f"The ledger has no row of one of the tokens {', '.join(changes)}.")

    def update_if(
        self, connection: Connection, token: str, condition: ColumnElement[bool], changes: Mapping[str, Any]
    ) -> bool:
        """Change one row where `condition` holds; return whether it did."""
        self._check(changes)
        statement = update(self.table).where(self.table.c.token == storable(token), condition)
        values = {name: storable(value) for name, value in changes.items()}
        return connection.execute(statement.values(values)).rowcount == 1

    def _check(self, names: Iterable[str]) -> None:
        # The token is what a row is known by, and number what orders it.
        if unknown := sorted(set(names) - (set(self.table.c.keys()) - {"number", "token"})):
            raise TypeError(f"{self.record.__name__} has no field {', '.join(unknown)} that could be changed")


def storable(value: Any) -> Any:
    """Return `value` as every database takes it: a scheduler's words may hold bytes that are no text, and zeros."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")
    return value


JOBS = Rows(jobs, JobRecord)
MACHINES = Rows(machines, MachineRecord)
RUNS = Rows(runs, RunRecord)
SCHEDULES = Rows(schedules, ScheduleRecord)
CHARGES = Rows(charges, ChargeRecord)
EVENTS = Rows(events, Event)
