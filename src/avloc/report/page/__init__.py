"""The interactive page: `build` joins its parts, `write` writes its files, `assets/` holds its script and style."""
