"""ObjectStore on SQL: small JSON documents of the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from overnight.errors import Conflict
from overnight.ports import Stored
from overnight.stores import schema
from overnight.stores.database import Database

_objects = schema.objects.c
_COLUMNS = (
    *(_objects.kind, _objects.tenant, _objects.id, _objects.seq),
    *(_objects.version, _objects.state, _objects.created_at, _objects.doc),
)


class SqlObjects:
    """Documents by kind, tenant and id, in order of insertion."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, kind: str, tenant: str, id: str, state: str, created_at: float, doc: bytes) -> Stored:
        """The new document. Raises `Conflict` where the tenant has one of that kind and id."""
        row = {"kind": kind, "tenant": tenant, "id": id, "state": state, "created_at": created_at, "doc": doc}

        def work(connection: Connection) -> Stored:
            done = connection.execute(insert(schema.objects).values(version=0, **row).returning(_objects.seq))
            return Stored(kind, tenant, id, done.scalar_one(), 0, state, created_at, doc)

        return await self._database.write(work)

    async def update(self, old: Stored, state: str, doc: bytes) -> Stored:
        """The document with new state and content. Raises `Conflict` where it changed since it was read, or is gone."""
        fits = (_objects.seq == old.seq, _objects.version == old.version)
        change = update(schema.objects).where(*fits).values(version=old.version + 1, state=state, doc=doc)

        def work(connection: Connection) -> Stored:
            if connection.execute(change).rowcount != 1:
                raise Conflict(f"{old.kind} {old.id} changed since it was read")
            return Stored(old.kind, old.tenant, old.id, old.seq, old.version + 1, state, old.created_at, doc)

        return await self._database.write(work)

    async def get(self, kind: str, tenant: str | None, id: str) -> Stored | None:
        """One document, or None; tenant None: of any tenant, the oldest."""
        query = select(*_COLUMNS).where(_objects.kind == kind, _objects.id == id).order_by(_objects.seq).limit(1)
        if tenant is not None:
            query = query.where(_objects.tenant == tenant)
        row = await self._database.read(lambda connection: connection.execute(query).one_or_none())
        return _stored(row) if row is not None else None

    async def list(
        self,
        kind: str,
        tenant: str | None,
        after: str | Stored | None,
        limit: int,
        newest_first: bool = True,
        states: Sequence[str] | None = None,
    ) -> Sequence[Stored]:
        """A page in order of insertion, starting behind the document `after`, or behind the one with that id, which
        need not be in one of the `states`. Raises LookupError where there is no such document."""
        of_kind = [_objects.kind == kind]
        if tenant is not None:
            of_kind.append(_objects.tenant == tenant)
        query = select(*_COLUMNS).where(*of_kind).limit(limit)
        query = query.order_by(_objects.seq.desc() if newest_first else _objects.seq)
        if states is not None:
            query = query.where(_objects.state.in_(states))

        def work(connection: Connection) -> Sequence[Stored]:
            page = query
            seq = after.seq if isinstance(after, Stored) else None
            if isinstance(after, str):
                place = select(_objects.seq).where(*of_kind, _objects.id == after).order_by(_objects.seq).limit(1)
                seq = connection.execute(place).scalar_one_or_none()
                if seq is None:
                    raise LookupError(after)
            if seq is not None:
                page = query.where(_objects.seq < seq if newest_first else _objects.seq > seq)
            return [_stored(row) for row in connection.execute(page)]

        return await self._database.read(work)

    async def delete(self, kind: str, tenant: str, id: str) -> bool:
        """True where it was there."""
        gone = delete(schema.objects).where(_objects.kind == kind, _objects.tenant == tenant, _objects.id == id)
        return await self._database.write(lambda connection: connection.execute(gone).rowcount == 1)

    async def close(self) -> None:
        """Finish the database's thread."""
        await self._database.close()


def _stored(row: Sequence[Any]) -> Stored:
    return Stored(*row)
