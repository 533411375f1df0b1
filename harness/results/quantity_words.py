"""What the quantities of a verdict are called in plain English; runs keep the short names that claims speak by."""

import re

# At most 48 letters each, the longest label that figures do not cut.
_WORDS = {
    "fall": "fall in refusals of harmful prompts",
    "rise": "rise in refusals of harmless prompts",
    "left": "harmful prompts that still are refused",
    "gain": "fall beyond that under the other arm",
    "least fall": "fall in the category in which it is least",
    "refused, harmful": "harmful prompts refused",
    "refused, harmless": "harmless prompts refused",
    "refused to begin with": "harmful prompts refused to begin with",
    "lead over random": "lead over the mean of 20 random ones",
    "lead over the best random one": "lead over the best of the 20 random ones",
    "lead over the loudest": "lead over as many parts of the largest norms",
    "E": "share of the effect that the circuit carries",
    "E, random circuits": "effect that 20 random circuits carry, mean",
    "parameters": "the circuit's share of all parameters",
    "r": "correlation of gradients with patches (r)",
    "middle over outer": "effect of middle MLPs less that of outer ones",
    "shared": "effect of other categories' circuits, of own",
    "cosine": "cosine between the categories' directions",
    "cosine, harmless twins": "the same cosine among harmless twins alone",
    "growth over random": "parting with depth beyond random directions",
    "harmless refused": "rise in refusals of harmless prompts",
    "coherent": "answers that still are language",
    "KL": "shift of the next token (KL divergence, nats)",
    "harmless, KL": "shift of harmless next tokens (KL, nats)",
    "cross-entropy": "extra nats a token on plain text",
    "harmless, refused by the first token": "rise in harmless first tokens that refuse",
    "AUC of the score": "first token tells refusals from answers (AUC)",
    "jointly": "effect of the circuit's parts jointly",
    "one by one, summed": "effects of its parts one by one, summed",
    "restored post": "effect restored after the instruction",
    "restored before": "effect restored before the instruction's end",
}
_STAGES = {"detect": "detection", "assess": "assessment", "execute": "execution"}
_ARM = ", the other arm"


def phrase(name: str) -> str:
    """What a quantity is, in a few words; a name that nobody here gave stays as it is."""
    if name.endswith(_ARM):
        return f"{phrase(name.removesuffix(_ARM))} (the other arm)"
    if name.startswith("|") and name.endswith("|"):
        return f"{phrase(name[1:-1])}, either way"
    if name in _WORDS:
        return _WORDS[name]
    for pattern, words in _PATTERNS:
        if (match := re.fullmatch(pattern, name)) is not None:
            return words.format(*(_STAGES.get(part, part) for part in match.groups()))
    return name


_STAGE = "|".join(_STAGES)
_PATTERNS = (
    (r"(fall|rise), random (directions|circuits)", "{0} under 20 random {1}, on the mean"),
    (r"(fall|rise), random directions of rank (\d+)", "{0} under 20 random sets of {1} directions, mean"),
    (r"(\w+) that carry more than (\d+%)", "{0} that carry over {1}, of as many as asked"),
    (rf"depth of ({_STAGE})", "depth of {0} (0: first layer, 1: last)"),
    (rf"depth of ({_STAGE}), harmless behaviour", "depth of {0}, for harmless behaviour"),
    (rf"({_STAGE}) below ({_STAGE})", "{0} lies deeper than {1} by"),
    (r"coherent, (\w+)", "{0} prompts' answers that still are language"),
    (r"first token refuses, (\w+)", "{0} prompts whose first token refuses"),
    (r"answers with a phrase, (\w+)", "{0} prompts answered with a refusing phrase"),
    (r"answers refused by (.+), (\w+)", "{1} prompts refused, as {0} judges"),
    (r"cross-entropy, (.+)", "extra nats a token on text of {0}"),
    (r"restored (.+)", "effect restored at {0}"),
)
