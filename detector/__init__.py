"""Who connects where from this host, and when that is unusual."""

from importlib.metadata import version

__version__ = version("detector")
