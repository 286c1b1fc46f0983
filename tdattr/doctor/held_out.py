"""Does the model know its training items from others: is there anything to attribute?"""

import numpy as np

from tdattr.doctor.findings import Finding
from tdattr.doctor.intervals import difference_interval
from tdattr.doctor.sample import Errors, OtherErrors, Sample
from tdattr.pipeline.train import TRAINED, train

FEWEST = 8  # items of each kind, below which an interval says nothing; ours


def compare_held_out(sample: Sample, own: Errors, held_out: OtherErrors) -> Finding:
    """Whether F1 misses more of the noise in items that it was not trained on, at the same noise. The interval is over
    the items."""
    check, trained_here = "training items", train(sample.ws).stage == TRAINED
    if not len(held_out):
        remedy = "held-out items: dataset.source.held_out=10, or remove.ids=[…] for a model that is trained here"
        return Finding(check, "open", "There are no held-out items to compare training items with.", remedy)
    if min(len(own), len(held_out)) < FEWEST:
        said = f"{len(own)} training and {len(held_out)} held-out items are too few to compare."
        return Finding(check, "open", said, "more held-out items: dataset.source.held_out=4, or more pictures")
    if not (np.isfinite(own).all() and np.isfinite(held_out).all()):
        return Finding(check, "open", "F1's losses are not finite, so that there is nothing to compare.")
    seen, unseen = own.mean(1), held_out.mean(1)
    low, high = (100 * end / seen.mean() for end in difference_interval(seen, unseen))
    share = 100 * float(unseen.mean() / seen.mean() - 1)
    likelier = float((unseen[:, None] > seen).mean() + (unseen[:, None] == seen).mean() / 2)
    said = (
        f"F1 misses {share:.1f} % more of the noise in {len(unseen)} held-out items than in {len(seen)} training items "
        f"(95 % interval {low:.1f} to {high:.1f} %), and more in a held-out item in {100 * likelier:.0f} % of all pairs"
    )
    numbers = {"percent": share, "low": low, "high": high, "auc": likelier}
    if low > 0:
        return Finding(check, "fine", f"{said}.", numbers=numbers)
    if trained_here:
        steps = sample.ws.train.count_steps(len(sample.ws.ids))
        remedy = f"a longer training, train.steps={2 * steps}, or fewer items"
    else:
        remedy = (
            "a model that was trained for longer or on fewer items; or, where it was trained on all of these pictures, "
            "held-out ones that it was not trained on, without which this says nothing"
        )
    if high < 0:
        return Finding(check, "look", f"{said}: the held-out items are easier, or were trained on.", remedy, numbers)
    said += ": no item has left a trace that could be seen, so that attribution has little to find"
    return Finding(check, "look", f"{said}.", remedy, numbers)
