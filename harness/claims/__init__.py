"""Claims: checks of claim files when they are collected, and checks before every judgement."""
