"""`avloc`: one command = one library call + words for a person. Everything heavy is imported inside the commands."""

from avloc.cli.app import app, main

__all__ = ["app", "main"]
