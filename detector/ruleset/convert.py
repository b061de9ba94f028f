"""The SQL that a rule became, to be read, or pasted into a database's own shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BindParameter, literal_column
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import visitors

from detector.ruleset.matchers import EventMatcher
from detector.store.columns import packed

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from sqlalchemy import Dialect

    from detector.ruleset.evaluate import Rule

# A style in which "%" needs no escape.
_DIALECTS: dict[str, Dialect] = {
    "sqlite": sqlite.dialect(paramstyle="named"),
    "postgresql": postgresql.dialect(paramstyle="named"),  # type: ignore[no-untyped-call]
}


def converted(rule: Rule, database: str) -> str:
    """The statement that finds a rule's rows: of one snapshot, or of the window of a correlation.

    Values stand in it as they are. The host, the snapshot and the window are parameters: `:host_id`, `:seq` …

    Args:
        rule: a rule.
        database: "sqlite" or "postgresql".
    """
    wanted = rule.matcher.wanted
    rows = wanted.category.rows
    within = rows.in_snapshot if isinstance(rule.matcher, EventMatcher) else rows.in_window
    statement = rows.select(wanted.columns, within, wanted.matching.rows).order_by(*rows.order)

    def replaced(element: Any, **_: Any) -> Any:
        return _literal(element, database) if isinstance(element, BindParameter) else None

    shown: Any = visitors.replacement_traverse(statement, {}, replaced)
    text = shown.compile(dialect=_DIALECTS[database], compile_kwargs={"literal_binds": True})
    return "\n".join(line.rstrip() for line in str(text).strip().splitlines())


def _literal(parameter: BindParameter[Any], database: str) -> Any:
    """What SQLAlchemy itself cannot write out: parameters without a value, addresses, and digests of lists."""
    value: Any = parameter.value
    if value is None and parameter.required:
        return literal_column(f":{parameter.key}", parameter.type)
    if parameter.expanding and value and hasattr(value[0], "packed"):
        return literal_column(f"({', '.join(_bytes(each, database) for each in value)})")
    is_bytes = isinstance(value, bytes) or hasattr(value, "packed")
    return literal_column(_bytes(value, database)) if is_bytes else None


def _bytes(value: bytes | IPv4Address | IPv6Address, database: str) -> str:
    written = (value if isinstance(value, bytes) else packed(value)).hex()
    return f"x'{written}'" if database == "sqlite" else f"'\\x{written}'::bytea"
