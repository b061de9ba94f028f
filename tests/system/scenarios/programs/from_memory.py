"""Runs a program from memory, under a name but without a file:  from_memory.py NAME PROGRAM ARGUMENTS…"""

from __future__ import annotations

import os
import sys
from pathlib import Path

memory = os.memfd_create(sys.argv[1])
os.write(memory, Path(sys.argv[2]).read_bytes())
os.execve(memory, sys.argv[2:], dict(os.environ))  # noqa: S606  what it is for
