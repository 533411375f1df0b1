"""Judges of answers: rules that tell a refusal from its words, and the registry to which others are added."""
