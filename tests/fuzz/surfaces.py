"""All that is fuzzed."""

from __future__ import annotations

from tests.fuzz import arguments, configuration, logs, rule_files, stored_rows, templates

SURFACES = {
    each.name: each
    for each in (
        configuration.SURFACE,
        rule_files.SURFACE,
        logs.SURFACE,
        templates.SURFACE,
        arguments.SURFACE,
        stored_rows.SURFACE,
    )
}
