"""`avloc`: one command = one library call + messages. Heavy imports are inside the commands."""

from avloc.cli.app import app, main

__all__ = ["app", "main"]
