"""The subjects that a claim can receive as `model`: live, asleep, recorded, planned or synthetic."""
