"""The commands of `python -m harness`, a module for each group; judging itself is done by pytest."""
