"""The SQL that makes the roles of a fleet's database; see docs/fleet.md."""

from __future__ import annotations

from importlib.resources import files


def sql() -> str:
    """For psql, by a superuser, in the database of detector."""
    return files("detector.store").joinpath("postgres", "roles.sql").read_text(encoding="utf-8")
