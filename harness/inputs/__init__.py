"""What comes from outside, checked: prompts, models by name, places in a model, files of strangers."""
