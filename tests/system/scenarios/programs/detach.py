"""Starts a program that has left session, terminal and parent behind, as daemons and tmux do:  detach.py COMMAND…"""

from __future__ import annotations

import os
import sys

if os.fork():
    sys.exit()
os.setsid()
if os.fork():
    sys.exit()
os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606  what it is for
