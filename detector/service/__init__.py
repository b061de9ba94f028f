"""The long-running roles: `collecting` writes snapshots, `detecting` works through them."""
