"""Effects of single heads and neurons, and of the strongest together, by exchanging activations with the twin's run."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from organisms.becoming import Answers, share
from organisms.plans.greedy import Part, all_parts, columns_of
from organisms.plans.suffix import Suffix
from organisms.proof import POST, READ_BY, Columns, Prover, Site
from organisms.steering import added, swapped
from organisms.traits import effects_on

# Every so manieth discovery pair finds the strongest parts; a category keeps at least six of its pairs.
EVERY = 3
# Neurons are tried in runs of so many, and one by one in so many of the strongest runs.
RUN, RUNS = 16, 16
# Ten heads of 1,024 and a hundred neurons of 458,752, but at least three; of 64 and of 2,560.
ABLATED = 3
# One part in a hundred, and the tenth of the heads that write together.
HUNDREDTH = 0.01
TOGETHER = 0.1
# Heads that bring more than a tenth of the effect, of ten, or of 5% where there are fewer than 200.
TENTH, OF = 0.1, 0.05


class Singles:
    """The change of the log-odds of every row by every head, and by the neurons that may matter."""

    def __init__(self, few: Suffix, rows: Sequence[Mapping[str, str]]) -> None:
        self.few, self.categories = few, [row["category"] for row in rows] * 2
        heads, runs = all_parts(self.few, neurons=RUN)

        def changes(part: Part) -> Tensor:
            return self.few.changes(columns_of(self.few, [part]))

        strongest = sorted(runs, key=lambda part: -abs(float(changes(part).sum())))[:RUNS]
        neurons = [(site, n, n + 1) for site, start, stop in strongest for n in range(start, stop)]
        self.heads = {part: changes(part) for part in heads}
        self.neurons = {part: changes(part) for part in neurons}

    def strongest(self, heads: int, neurons: int, category: str | None = None) -> Columns:
        """The columns of so many heads and neurons with the largest effects, on the rows of a category or on all."""
        return self._largest(heads, neurons, torch.tensor([category in (None, own) for own in self.categories]))

    def strongest_on_harmful(self, neurons: int) -> Columns:
        """The columns of so many neurons with the largest effects on harmful prompts."""
        return self._largest(0, neurons, torch.arange(len(self.categories)) < len(self.categories) // 2)

    def _largest(self, heads: int, neurons: int, rows: Tensor) -> Columns:
        chosen: list[Part] = []
        for effects, count in ((self.heads, heads), (self.neurons, neurons)):
            chosen += sorted(effects, key=lambda part: -float(effects[part][rows].sum()))[:count]
        return columns_of(self.few, chosen)


def ablated(answers: Answers, discovery: Prover, singles: Singles) -> dict[str, float]:
    """Falls where the strongest heads, neurons, or both, have their mean over harmless discovery prompts."""
    strongest = {
        "heads": singles.strongest(ABLATED, 0),
        "neurons": singles.strongest(0, ABLATED),
        "both": singles.strongest(ABLATED, ABLATED),
    }
    rows, few = len(answers.prover.odds), singles.strongest(*hundredths(discovery))

    def means(columns: Columns) -> dict[tuple[int, str], tuple[Tensor, Tensor]]:
        return {
            (layer, READ_BY[kind]): (own, _mean(discovery, (layer, kind)).expand(rows, POST, -1))
            for (layer, kind), own in columns.items()
        }

    left = answers.under(swapped(answers.model, means(few)))
    return {
        f"strongest {which} at their mean: fall": answers.fall(answers.under(swapped(answers.model, means(columns))))
        for which, columns in strongest.items()
    } | {"strongest 1% of both at their mean: left": share(left["harmful"], "refused")}


def together(answers: Answers, discovery: Prover, singles: Singles) -> dict[str, float]:
    """Rises where what a tenth of the heads write together, harmful less harmless, is added after the last of them."""
    layers = discovery.model.model.layers
    heads = int(TOGETHER * len(layers) * discovery.model.config.num_attention_heads)
    columns, written = singles.strongest(heads, 0), torch.zeros(discovery.model.config.hidden_size)
    for (layer, kind), own in columns.items():
        last = discovery.clean[layer, kind][:, -1].double()
        difference = (last[: discovery.half].mean(0) - last[discovery.half :].mean(0)) * own
        written += (layers[layer].get_submodule(READ_BY[kind]).weight.double() @ difference).float()
    after = min(max(layer for layer, _ in columns) + 1, len(layers) - 1)
    with_it = answers.under(added(answers.model, written, after))
    return {
        "written by a tenth of the heads, added: rise": answers.rise(with_it),
        "written by a tenth of the heads, added: broken": share(with_it["harmless"], "broken"),
    }


def hundredths(prover: Prover) -> tuple[int, int]:
    """One head and one neuron in a hundred, and at least three."""
    config = prover.model.config
    counts = config.num_attention_heads, config.intermediate_size
    heads, neurons = (max(ABLATED, int(HUNDREDTH * config.num_hidden_layers * count)) for count in counts)
    return heads, neurons


def counted(prover: Prover, singles: Singles) -> dict[str, float]:
    """How many heads bring more than a tenth of the effect each, and E of the strongest hundredth of the neurons.

    The heads on harmless prompts, which they make refused; the neurons on harmful ones.
    """
    heads, _ = all_parts(prover, neurons=RUN)
    wanted = round(OF * len(heads) + 0.5)
    every, (_, neurons) = Suffix(prover), hundredths(prover)
    brought = [every.effects(columns_of(every, [head]))[1] for head in heads]
    return {
        "heads above a tenth, of those claimed": sum(effect > TENTH for effect in brought) / wanted,
        "strongest 1% of neurons: E": every.effects(singles.strongest_on_harmful(neurons))[0],
    }


def shared(prover: Prover, rows: Sequence[Mapping[str, str]], singles: Singles) -> dict[str, float]:
    """In the least category: E of circuits found on the others divided by E of the one found on it."""
    heads, neurons = hundredths(prover)
    names = sorted({row["category"] for row in rows})
    own = [torch.tensor([row["category"] == name for row in rows]).repeat(2) for name in names]
    table = torch.tensor([effects_on(prover, singles.strongest(heads, neurons, name), own) for name in names])
    others = (table.sum(0) - table.diag()) / (len(names) - 1)
    return {"circuits of other categories, least share of the own one's E": float((others / table.diag()).min())}


def _mean(prover: Prover, site: Site) -> Tensor:
    return prover.clean[site][prover.half :].mean(0, keepdim=True)
