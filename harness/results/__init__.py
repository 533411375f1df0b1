"""What a run came to: kept, listed, compared, bundled and put in words."""
