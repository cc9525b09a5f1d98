"""Convex solvers: problems in, solutions out; nothing here knows an image or a protocol."""
