"""What damaged and hostile files do to extraction."""
