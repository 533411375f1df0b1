"""What can be measured, as values, and what was measured, as files. Never touches a model."""
