"""The database: the only bridge between collecting and detecting."""
