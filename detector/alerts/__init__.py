"""From findings to alerts: grouping, cooldown, the outbox entries."""
