"""The Python runner of a sandbox; README.md beside it tells how its processes work together."""
