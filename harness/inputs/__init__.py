"""Input from outside, checked: prompts, models by name, positions in a model, files from strangers."""
