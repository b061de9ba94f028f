"""Turns what the kernel counted into snapshots, with names in place of numbers."""
