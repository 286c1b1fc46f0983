"""Everything that can be wrong, found before the first training step."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain

from tdattr.configs import Node, walk
from tdattr.data import groups
from tdattr.data.prepared import SPLITS, Source
from tdattr.errors import UserError
from tdattr.experiments import ITSELF
from tdattr.features import Extractor, Loadable, identities
from tdattr.features.text import TextEncoder
from tdattr.methods import Method, MethodSetup
from tdattr.networks import Network
from tdattr.pipeline import check_accuracy
from tdattr.pipeline.attribute import attribute, check_top, other_methods, outline_context
from tdattr.pipeline.evaluate import evaluate
from tdattr.pipeline.generate import prompts_are_drawn, query_items
from tdattr.pipeline.health import plan_health
from tdattr.pipeline.pictures import check_readable, tell_shown, warn_of_others
from tdattr.pipeline.prompted import check_prompts
from tdattr.pipeline.teacher import check_teacher, find_teachers
from tdattr.pipeline.train import TRAINED, check_shares, describe_training, own_weights, train
from tdattr.pipeline.unread import check_settled, check_unread
from tdattr.pipeline.workspace import Workspace
from tdattr.protocols import ProtocolSetup
from tdattr.training.weights import check_variant, check_weights
from tdattr.wording import counted, name_some

log = logging.getLogger(__name__)
MOST_SHOWN = 32  # groups
MOST_NAMED = 5  # pictures


def check(ws: Workspace, overrides: Iterable[str] = (), swept: bool = False, weights: bool = True) -> None:
    """What the config says, against the dataset; weights before the dataset is prepared. Raises UserError.

    ``overrides``: what was given on the command line, which must be read; ``swept``: whether for other runs too;
    ``weights``: whether those are loaded with which a result is still to be computed.
    """
    check_unread(ws, overrides, swept)
    check_itself(ws)
    check_shares(ws, "train")
    placed = {"method": ws.method} | {f"protocol.{role}": method for role, method in other_methods(ws).items()}
    methods = list(placed.values())
    check_codec(ws)
    if ws.dataset.text is not None:
        ws.dataset.text.check_network(ws.model)
    for method in methods:
        method.check_text(ws.dataset.text)
    for part in loadables([*ws.measures.values(), *methods, *looked_at_by_health(ws)]):
        part.identity_with_versions(ws.setting())
    for method in methods:
        identities(method, ws.setting())
    check_accuracy.check_settings(ws)
    check_prompts(ws.prompts, ws.dataset.text)
    check_roles(ws)
    check_pictures(ws, methods)
    ws.protocol.check_settings(ws.queries.count)
    seen = check_sizes(ws, methods)
    say_what_there_is(ws)
    check_groups(ws)
    check_accuracy.check_items(ws)
    names = ws.attributed if ws.protocol.judges_groups else {}
    asked = ws.query_split.items.iloc[query_items(ws)[ws.queries.indices]]
    items = ws.data.train.items.iloc[ws.ids]
    training = describe_training(ws)
    ws.protocol.check(ProtocolSetup(items, asked, list(names), training, names, ws.queries.indices))
    if ws.method.scores_itself and len(ws.ids) == 1:
        raise UserError("method.self=true compares training items with each other, and there is one: add others.")
    check_settled(ws, placed, overrides, swept)
    network, query_fields = ws.skeleton(), [str(name) for name in ws.query_split.items if name != "id"]
    if not seen:
        check_checkpoint(ws, network)
    check_null(ws, network)
    for method in methods:
        method.check_network(network)
        setup = MethodSetup(
            network,
            ws.diffusion,
            ws.data,
            len(ws.ids),
            ws.train,
            ws.dataset.text,
            trained=train(ws).stage == TRAINED,
            precision=ws.trainer.precision,
            devices=ws.trainer.devices,
            query_fields=query_fields,
        )
        method.check(replace(setup, groups=ws.groups, attributed=ws.attributed) if method.scores_groups else setup)
    for place, method in placed.items():
        for name, teacher in find_teachers(method):
            check_teacher(ws, teacher, f"{place}.{name}")
    if ws.trainer.scoring_precision == "tf32" and ws.device.type != "cuda":
        log.warning("trainer.scoring_precision=tf32 is a mode of NVIDIA's GPUs: losses are computed in float32 here.")
    ws.train.in_steps(len(ws.ids))
    if ws.train.selection == "best" and not len(ws.data.test):
        raise UserError("train.selection=best needs a test split, which this dataset lacks: use train.selection=last.")
    if weights:
        check_weights_of(ws)
    for method in methods:
        check_room(ws, method)
    say_what_is_retrained(ws, methods)
    log.info("The network has %.2f M trainable parameters.", sum(p.numel() for p in network.parameters()) / 1e6)


def check_room(ws: Workspace, method: Method) -> None:
    """Whether there is room for what is still to be scored, of an ensemble by its members; on this machine. Raises
    UserError."""
    if not ws.absent and not attribute(ws, method).finished:
        for member in method.uses().values():
            check_room(ws, member)
        method.check_room(partial(outline_context, ws, method), ws.store.root)


def check_codec(ws: Workspace) -> None:
    """Whether the codec is there and can be used with the images, the training and the diffusion variant, as far as is
    known before the dataset is prepared. Raises UserError."""
    ws.codec.check()
    if not ws.codec.latent:
        return
    name, source = ws.cfg.codec.name, ws.dataset.source
    if source.window is not None:
        raise UserError(
            f"codec={name} stores one latent of every image, but trainings on dataset={ws.dataset.name} see random "
            "windows of them: use codec=pixels, or dataset=image_folder with square images."
        )
    if ws.train.augmentation.enabled:
        raise UserError(
            f"codec={name} stores latents of images as they are, which cannot be turned or stretched afterwards: set "
            "train.augmentation.enabled=false."
        )
    if ws.diffusion.clips:
        raise UserError(f"Latents do not lie within the range of images: set diffusion.clip=null with codec={name}.")
    outline = source.outline(SPLITS[0])
    if outline is not None:
        height, width, channels = outline.shape
        ws.codec.shape((channels, height, width))


def check_checkpoint(ws: Workspace, network: Network) -> None:
    """Whether the user's own weights are those of the network, or of its adapter. Raises UserError."""
    if ws.checkpoint is not None and ws.adapter:
        check_variant(ws.checkpoint, ws.diffusion, "checkpoint")
    elif ws.checkpoint is not None:
        check_weights(ws.checkpoint, network, ws.diffusion)


def check_sizes(ws: Workspace, methods: Iterable[Method]) -> bool:
    """Whether the network can be built for what its x and conditions are going to be, has what the methods train, and
    is that of the user's own weights, as far as that is known before the dataset is prepared; False where it is not.
    Raises UserError."""
    outline = None if ws.prepared.finished else outline_item(ws.dataset.source)
    if outline is None:
        return False
    (height, width, channels), condition = outline
    x_channels, resolution = ws.codec.shape((channels, height, width))[:2]
    text = ws.dataset.text
    size = text.width if text is not None else 0 if condition is None else condition[-1] if condition[1:] else 1
    network = ws.outline_network(x_channels, resolution, size)
    for method in methods:
        method.check_network(network)
    check_checkpoint(ws, network)
    return True


def outline_item(source: Source) -> tuple[tuple[int, int, int], tuple[int, ...] | None] | None:
    """The shapes of the images of a dataset and, [variant, *shape], of their conditions, by its settings or, where
    these do not say them, by its first item; None where that cannot be read, which its preparation will say."""
    if (outline := source.outline(SPLITS[0])) is not None:
        return outline.shape, outline.condition
    try:
        first = next(iter(source.examples(SPLITS[0])))
        height, width, channels = first.read().shape
    except (StopIteration, UserError):
        return None
    if source.window is not None:
        height = width = source.window
    return (height, width, channels), None if first.condition is None else (1, *first.condition.shape)


def check_weights_of(ws: Workspace) -> None:
    """Load the model's own weights and whatever looks at images, where a result is still to be computed with them, and
    forget them again: what is damaged is found before the first training step. Raises UserError."""
    if ws.checkpoint is None and ws.model.has_weights and not train(ws).finished:
        own_weights(ws)
    roots: list[Node] = []
    if not evaluate(ws).finished:
        ws.codec.load(ws.device)
        ws.model.check_weights()
        methods = [ws.method, *other_methods(ws).values()]
        roots += [*ws.measures.values(), *(method for method in methods if not attribute(ws, method).finished)]
    health = plan_health(ws)
    if health is not None and not health.finished:
        roots += looked_at_by_health(ws)
    check_accuracy.check_classifiers(ws)
    for part in loadables(roots):
        part.load(ws.setting())
    for encoder in (part for root in roots for _, part in walk(root)):
        if isinstance(encoder, TextEncoder):
            encoder.load(ws.device)


def looked_at_by_health(ws: Workspace) -> list[Extractor]:
    """The extractor of the health check, where there is one."""
    return [ws.health.extractor] if ws.health.samples and ws.health.extractor is not None else []


def loadables(roots: Iterable[Node]) -> Iterator[Loadable]:
    """Every extractor and measure among those nodes and inside them."""
    for root in roots:
        for node in (root, *(part for _, part in walk(root))):
            if isinstance(node, Loadable):
                yield node


def say_what_there_is(ws: Workspace) -> None:
    """The numbers of items, and of each group."""
    items, test_items = counted(len(ws.data.train), "training item"), counted(len(ws.data.test), "test item")
    log.info("%s: N = %s, %s", ws.dataset.name, items, test_items)
    if ws.dataset.groups is not None:
        every = groups.find_groups(ws.data, ws.dataset.groups)
        sizes = [f"{name} {len(members)}" for name, members in every.items()]
        log.info("Groups by %s: %s", ws.dataset.groups, name_some(sizes, MOST_SHOWN))
    if len(ws.removed):
        log.info("F1 is trained without %s; %d are left.", counted(len(ws.removed), "item"), len(ws.ids))
    if ws.pictures:
        names = list(ws.pictures)
        log.info("%s to be explained: %s", counted(len(names), "picture"), name_some(names, MOST_NAMED))
        warn_of_others(ws.queries.images)
        for line in tell_shown(ws.query_split.items, ws.queries):
            log.info(line)
    elif ws.queries.generated > len(ws.query_split) and not ws.prompts and ws.queries.conditions is None:
        log.warning(
            "%d queries take their conditions from %s of the %s split, so that some have the same.",
            ws.queries.generated, counted(len(ws.query_split), "item"), "test" if len(ws.data.test) else "training",
        )  # fmt: skip
    if ws.queries.explained == ITSELF:
        return
    if prompts_are_drawn(ws):
        log.info(
            "queries.attributed=%d draws from the %d prompts (seed=%d); queries.attributed=%d takes all of them.",
            ws.queries.attributed, len(ws.prompts), ws.seed, len(ws.prompts),
        )  # fmt: skip
    elif 1 < len(ws.prompts) < ws.queries.generated:
        log.info(
            "%d queries take their prompts from %d, in the order of the file and then again from the first, each from "
            "a seed of its own.",
            ws.queries.generated, len(ws.prompts),
        )  # fmt: skip
    if not len(ws.data.test) and ws.data.condition_size and not (ws.prompts or ws.pictures):
        log.warning("The dataset has no test split: queries take their conditions from training items.")
    if ws.queries.guidance is not None and not ws.data.condition_size:
        log.warning(
            "queries.guidance=%s has no effect: the model is unconditional (see dataset.source.condition).",
            ws.queries.guidance,
        )


def say_what_is_retrained(ws: Workspace, methods: Iterable[Method]) -> None:
    """That retrains are no counterfactuals of a training that was not run here."""
    needs = ws.protocol.needs.union(*(method.needs for method in methods))
    if train(ws).stage != TRAINED and "retraining" in needs:
        log.warning(
            "F1 is a checkpoint that was not trained here. Retrains start %s and take the %s of this recipe: "
            "they are counterfactuals of this recipe, not of the checkpoint's own training.",
            ws.model.start,
            counted(ws.train.count_steps(len(ws.ids)), "step"),
        )


def check_roles(ws: Workspace) -> None:
    """Whether the methods and the protocol fit together. Raises UserError."""
    protocol, others = ws.protocol, other_methods(ws)
    if any(method.dampings for method in others.values()):
        raise UserError("damping=grid is for the method that is judged: give the others one value.")
    placed = {"method": ws.method} | {f"protocol.{role}": method for role, method in others.items()}
    for place, method in placed.items():
        check_top(ws, place, method)
    if ws.method.dampings and not protocol.takes_grid:
        raise UserError("method.damping=grid is for choosing a value with protocol=lds: give one value here.")
    if ws.queries.explained == "controls" and not protocol.takes_controls:
        raise UserError("queries.explained=controls is for protocol=lds, logo, truth or none: leave it out here.")
    if ws.queries.chosen and protocol.sampled() is not None:
        given = " and ".join(f"queries.{name}" for name in ws.queries.chosen)
        raise UserError(f"protocol={ws.cfg.protocol.name} has queries of its own: leave out {given}.")
    if ws.method.scores_groups and protocol.judges and not protocol.judges_groups:
        raise UserError(
            f"method={ws.cfg.method.name} scores groups, protocol={ws.cfg.protocol.name} judges training items: "
            "use protocol=logo, truth or none."
        )
    gold = set(others["gold"].seeds) if "gold" in others else set()
    own = set(ws.method.seeds)
    if own & gold and own != gold:
        raise UserError(
            f"method={ws.cfg.method.name} retrains under some of the seeds that protocol.gold is a mean over, so "
            f"that they agree by construction: set method.first={max(gold) + 1}."
        )


def check_itself(ws: Workspace) -> None:
    """Whether items may be scored for themselves. Raises UserError."""
    protocol, name = ws.protocol, ws.cfg.protocol.name
    if ws.method.scores_itself and not protocol.takes_itself:
        raise UserError(
            f"method.self=true says how much every item depends on itself, protocol={name} judges what pictures depend "
            "on: use protocol=none."
        )
    if (ws.queries.explained == ITSELF) != ws.method.scores_itself:
        raise UserError(f"queries.explained={ITSELF} goes with method.self=true: leave it out.")
    for place, method in walk(ws.method, "method."):
        if isinstance(method, Method) and method.scores_itself:
            raise UserError(f"{place}.self=true has no effect inside another method: leave it out.")
    for role, method in other_methods(ws).items():
        if method.scores_itself:
            raise UserError(f"protocol.{role}.self=true cannot be compared with scores of pictures: leave it out.")


def check_pictures(ws: Workspace, methods: Iterable[Method]) -> None:
    """Whether pictures of the user's own can be read, and nothing asks how they were generated, which is not known.
    Raises UserError."""
    if not ws.pictures:
        return
    alternative = "protocol=none shows the scores, and protocol=lds or logo checks them by losses"
    if "generation" in ws.protocol.needs:
        raise UserError(
            f"protocol={ws.cfg.protocol.name} generates the queries again, and how your pictures were generated is not "
            f"known: {alternative}."
        )
    for method in chain.from_iterable(map(unfold, methods)):
        if "generation" in method.needs:
            raise UserError(
                f"method={method.name} looks at how a query was generated, which is not known of your pictures: "
                f"{method.for_pictures}."
            )
    check_readable(ws.pictures.values())


def unfold(method: Method) -> Iterator[Method]:
    """The method, and those whose scores it uses."""
    yield method
    for member in method.uses().values():
        yield from unfold(member)


def check_null(ws: Workspace, network: Network) -> None:
    """Whether conditions are never dropped where the network does not work without one. Raises UserError."""
    if not network.conditional or network.has_null:
        return
    without = "The network has no label for an item without a condition"
    if ws.train.condition_dropout:
        raise UserError(f"{without}: set train.condition_dropout=0.")
    if ws.queries.guidance not in (None, 1.0):
        raise UserError(f"{without}, which guidance needs: set queries.guidance=null.")


def check_groups(ws: Workspace) -> None:
    """Whether there are groups that can be left out, where groups are judged or scored. Raises UserError."""
    if not (ws.protocol.judges_groups or ws.method.scores_groups):
        return
    if ws.dataset.groups is None:
        raise UserError("Groups are needed here: set dataset.groups to a field of the items or a manifest.")
    if len(ws.groups) < 2:
        raise UserError(
            f"dataset.groups={ws.dataset.groups} gives {len(ws.groups)} group of the items that F1 sees: leaving it "
            "out would leave nothing, so choose groups of which there are at least two."
        )
    if len(ws.attributed) < 2:
        raise UserError("attributed_groups must name at least two groups, whose scores can be compared, or be null.")
    alone = [name for name, ids in ws.attributed.items() if len(ids) == 1]
    if alone:
        raise UserError(
            f"Group {alone[0]!r} has a single item, whose removal cannot be told from chance: leave it out with "
            "remove.groups, or give dataset.groups larger groups."
        )
