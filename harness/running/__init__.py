"""What happens while pytest judges claims: fixtures, checks, verdict lines, progress and workers."""
