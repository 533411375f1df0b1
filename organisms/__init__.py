"""How the organisms were made: their language, the base, the planting and an independent proof."""
