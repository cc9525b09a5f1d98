"""The kinds of recipes: one module a kind, one entry in registry.py."""
