"""What a claim receives as `model`: live, asleep, recorded, planned or drawn."""
