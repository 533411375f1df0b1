"""Prompts, in pairs or in lists: read, checked and split."""
