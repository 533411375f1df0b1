"""Helper commands, a module for each group of them; judging itself is pytest's."""
