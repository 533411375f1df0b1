"""What a claim can ask of a subject: refusals, depths, geometry, side effects and their controls."""
