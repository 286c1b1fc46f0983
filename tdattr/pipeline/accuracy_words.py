"""What a run says of the accuracies of unlearning, and why they may say less than they seem to."""

from collections.abc import Mapping
from typing import Any

from tdattr.metrics.unlearning_accuracy import FEWEST_IMAGES, MEASURES, is_guessing
from tdattr.wording import counted


def describe_accuracy(result: Mapping[str, Any], method: str | None = None) -> list[str]:
    """The lines that a run prints; ``method``: whose models without a group were looked for, if they were."""
    named = [f"{100 * share:.1f} % of the {label}s" for label, share in result["classifiers"].items()]
    shown = [f"{100 * share:.1f} % have the {label}" for label, share in result["f1"].items()]
    lines = [
        f"The classifiers name {' and '.join(named)} of held-out items right.",
        f"Of {result['images']} images of F1, {' and '.join(shown)} of their prompt.",
    ]
    if "means" in result:
        means = result["means"]
        measures = [key for key in MEASURES if key in means["f1"] and key != "cra_forgotten"]
        parts = [f"{key.upper()} {100 * means['unlearned'][key]:.1f} %" for key in measures]
        reference = [f"{100 * means['f1'][key]:.1f}" for key in measures]
        lines.append(f"Models without a group: {', '.join(parts)} (F1: {', '.join(reference)}).")
    elif method is not None:
        lines.append(
            f"method={method} has no model without a group, so that these accuracies are of F1 alone: method=guda_u, "
            "guda_c and logo have some."
        )
    return lines


def warn_guessing(result: Mapping[str, Any]) -> list[str]:
    """What there is to say of classifiers that hardly do better than a guess."""
    sentences = []
    for label, accuracy in result["classifiers"].items():
        guess = result["guesses"][label]
        if is_guessing(accuracy, guess):
            measures = [key.upper() for key, by in MEASURES.items() if by == label and key != "cra_forgotten"]
            nothing = f"{' and '.join(measures)} {'say' if len(measures) > 1 else 'says'} nothing"
            sentences.append(
                f"The {label} classifier names {100 * accuracy:.1f} % of held-out items right, where always naming the "
                f"commonest {label} would get {100 * guess:.1f} %, so that {nothing}: raise "
                f"accuracy.{label}_classifier.steps, or choose another architecture."
            )
    return sentences


def warn_unreadable(result: Mapping[str, Any]) -> list[str]:
    """What there is to say where F1's own images hardly show what they are to, or are few."""
    sentences = []
    for label, share in result["f1"].items():
        guess = result["guesses"][label]
        if is_guessing(share, guess) and not is_guessing(result["classifiers"][label], guess):
            sentences.append(
                f"Of F1's own images {100 * share:.1f} % show the {label} of their prompt, and a guess gets "
                f"{100 * guess:.1f} %, so that a model without a group has nothing to lose: train F1 for longer."
            )
    if result["images"] < FEWEST_IMAGES:
        sentences.append(
            f"The accuracies stand on {counted(result['images'], 'image')} of a model, fewer than {FEWEST_IMAGES}: "
            "raise accuracy.images."
        )
    return sentences
