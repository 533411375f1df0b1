"""From numbers to a verdict: intervals, estimates, bars, and the words of a verdict."""
