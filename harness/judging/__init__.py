"""From numbers to a verdict: intervals, bars and the words for what they come to."""
