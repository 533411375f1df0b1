"""A chat model in memory: found, loaded, examined, read and scored."""
