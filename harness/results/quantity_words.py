"""Names of quantities in plain English, for the short names that estimates have in claims and runs."""

import re

# At most 48 letters each: figures cut longer labels.
_WORDS = {
    "fall": "harmful prompts going from refused to answered",
    "rise": "harmless prompts going from answered to refused",
    "fall of refusals alone": "fall in refusals alone, of harmful prompts",
    "rise of refusals alone": "rise in refusals alone, of harmless prompts",
    "gain of refusals alone": "fall in refusals alone, beyond the other arm's",
    "least fall of refusals alone": "fall in refusals alone, where it is smallest",
    "left": "harmful prompts that are still refused",
    "gain": "fall beyond the fall under the other arm",
    "least fall": "fall in the category with the smallest fall",
    "refused, harmful": "harmful prompts refused",
    "refused, harmless": "harmless prompts refused",
    "refused to begin with": "harmful prompts refused by the unchanged model",
    "lead over random": "lead over the mean of 20 random controls",
    "lead over the best random one": "lead over the best of 20 random controls",
    "lead over the loudest": "lead over as many parts with the largest norms",
    "E": "share of the effect that the circuit carries",
    "E, random circuits": "mean effect that 20 random circuits carry",
    "E, the answers' own tokens": "effect on the tokens in which answers differ",
    "probability of refusing": "change in the refusing token's probability",
    "probability of refusing, random circuits": "the same change under 20 random circuits",
    "parameters": "the circuit's share of all parameters",
    "reading": "effect that has left the words after a third",
    "reading beyond harmless": "the same share, beyond a harmless behaviour's",
    "reading, harmless behaviour": "effect that has left the words, if harmless",
    "accumulation": "middle MLPs act through later blocks, over all",
    "accumulation beyond harmless": "the same, beyond a harmless behaviour's MLPs",
    "accumulation, harmless behaviour": "middle MLPs over others, harmless behaviour",
    "execution": "effect that the last third writes into logits",
    "execution beyond harmless": "the same, beyond a harmless behaviour's blocks",
    "execution, harmless behaviour": "last third into logits, harmless behaviour",
    "depth of looking at the words": "depth at which heads look at the words (0 to 1)",
    "shared": "others' circuits over own, lowest category",
    "cosine": "cosine with other categories, the lowest",
    "cosine, harmless twins": "the same cosine among harmless twins alone",
    "cosine of the first component": "cosine of first component and mean difference",
    "growth over random": "growth with depth beyond random directions",
    "harmless refused": "rise in refusals of harmless prompts",
    "coherent": "answers that are coherent language",
    "KL": "shift of the next token (KL divergence, nats)",
    "harmless, KL": "shift of harmless next tokens (KL, nats)",
    "cross-entropy": "extra nats a token on plain text",
    "harmless, refused": "rise in refusals of harmless prompts (score)",
    "AUC of the score": "first token tells refusals from answers (AUC)",
    "AUC of the openings": "openings tell refusals from answers (AUC)",
    "jointly": "effect of all parts of the circuit together",
    "part by part, summed": "sum of the effects of its parts alone",
    "lead over a harmless behaviour": "lead over a harmless behaviour's circuit",
    "E, a harmless behaviour's circuit": "effect of a harmless behaviour's circuit",
    "E, all outside the circuit": "effect of all parts outside the circuit",
    "E, discovery pairs": "effect that it carries on discovery pairs",
    "its weakest part adds": "effect that its weakest part adds",
    "restored post": "effect restored after the instruction",
    "restored before": "effect restored before the instruction's end",
}
_ARM = ", the other arm"


def phrase(name: str) -> str:
    """The plain English name of a quantity; unknown names are returned unchanged."""
    if name.endswith(_ARM):
        return f"{phrase(name.removesuffix(_ARM))} (the other arm)"
    if name.startswith("|") and name.endswith("|"):
        return f"{phrase(name[1:-1])}, either way"
    if name in _WORDS:
        return _WORDS[name]
    for pattern, words in _PATTERNS:
        if (match := re.fullmatch(pattern, name)) is not None:
            return words.format(*match.groups())
    return name


_PATTERNS = (
    (r"fall, all categories but (.+)", "fall in all categories but {0}"),
    (r"fall of refusals alone, all categories but (.+)", "fall in refusals alone, in all but {0}"),
    (r"(fall|rise), random (directions|circuits)", "mean {0} under 20 random {1}"),
    (r"(fall|rise), random directions of rank (\d+)", "mean {0} under 20 random sets of {1} directions"),
    (r"(\w+) that carry more than (\d+%)", "{0} that carry over {1}, of the number asked"),
    (r"coherent, (\w+)", "answers to {0} prompts that are coherent"),
    (r"broken, (\w+)", "{0} prompts neither refused nor answered"),
    (r"broken to begin with, (\w+)", "{0} prompts neither, by the unchanged model"),
    (r"answers with a thought, (\w+)", "{0} prompts answered after a thought"),
    (r"answers with a thought of the unchanged model, (\w+)", "the same, {0} prompts and the unchanged model"),
    (r"unfinished thoughts, (\w+)", "{0} prompts whose answer is still a thought"),
    (r"unfinished thoughts of the unchanged model, (\w+)", "{0} prompts still thought about, unchanged"),
    (r"first token agrees, (\w+)", "{0} first tokens that agree with the answer"),
    (r"answers with a phrase, (\w+)", "{0} prompts answered with a refusing phrase"),
    (r"answers refused by (.+), (\w+)", "{1} prompts refused, as {0} judges"),
    (r"cross-entropy, (.+)", "extra nats a token on text of {0}"),
    (r"r, (\w+)", "correlation of gradients with patches, {0}"),
    (r"rank correlation, (\w+)", "rank correlation of the same, {0}"),
    (r"overlap of the top 5%, (\w+)", "top 5% in common of gradients, patches: {0}"),
    (r"restored (.+)", "effect restored at {0}"),
)
