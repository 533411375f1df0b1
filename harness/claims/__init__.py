"""What a claim file must say, and what every judgement passes before it is made."""
