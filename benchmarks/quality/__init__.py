"""Localization quality: methods, recipe choices and the demo, over several seeds."""
