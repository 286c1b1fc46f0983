"""Generate: the run's queries, from a trained model, each from its own seed."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tdattr.costs import NUMBER_BYTES, Cost, Work
from tdattr.data.conditions import check_conditional, find_condition
from tdattr.errors import UserError
from tdattr.experiments import ITSELF
from tdattr.networks import Given, Network
from tdattr.pipeline.itself import plan_itself
from tdattr.pipeline.pictures import plan_pictures
from tdattr.pipeline.prompted import describe_text, digest_prompts
from tdattr.pipeline.train import load_network, train
from tdattr.pipeline.workspace import Workspace
from tdattr.progress import track
from tdattr.protocols import Sampled
from tdattr.queries import TABLE, Queries, load_images, load_x, query_generator, save_sampled
from tdattr.seeding import generator
from tdattr.store import Plan, share_out
from tdattr.tables import write_table

UNGUIDED = 1.0  # the weight of guidance under which a network is left as it is


def generate(ws: Workspace, model: Plan) -> Plan:
    """The run's queries as that model generates them, made of batches that jobs share out.

    Nothing is generated before the plan's ``get``. Pictures of the user's own are the same whatever the model.
    """
    if ws.queries.explained == ITSELF:
        return plan_itself(ws)
    if ws.pictures:
        return plan_pictures(ws)
    sampled = ws.protocol.sampled()
    if sampled is not None and model.address == train(ws).address:
        return plan_sampled(ws, sampled)

    def prepare() -> tuple[Tensor, Tensor]:
        plans = plan_batches(ws, model)
        if not all(plan.finished for plan in plans):
            model.get()  # so that the progress of a training is shown first
        batches = share_out(plans, "Generating")
        return torch.cat([load_x(batch) for batch in batches]), torch.cat([load_images(batch) for batch in batches])

    def make(folder: Path, sampled: tuple[Tensor, Tensor]) -> dict[str, Any]:
        save_sampled(folder, *sampled)
        write_roles(ws, folder)
        return {"batch_size": ws.queries.batch_size}  # on which the last bits of the images depend

    def cost() -> Cost:
        return Cost(Work(bytes=ws.queries.generated * bytes_of_sample(ws)), plan_batches(ws, model))

    config = generation_config(ws) | {"attributed": ws.queries.attributed, "controls": ws.queries.controls}
    return ws.store.plan("generate", 3, config, {"model": model.address}, make, prepare, cost=cost)


def plan_sampled(ws: Workspace, sampled: Sampled) -> Plan:
    """What ``generate`` holds, of queries that were sampled elsewhere: the first of them, as many as are asked for."""
    count = ws.queries.generated
    x, images = sampled.x[:count], sampled.images[:count]

    def make(folder: Path) -> None:
        save_sampled(folder, x.clone(), images.clone())
        write_roles(ws, folder)

    inputs = {"x": digest(x), "images": digest(images), "dataset": ws.data.content}
    config = {"seed": ws.seed, "attributed": ws.queries.attributed, "controls": ws.queries.controls}
    cost = Cost(Work(bytes=count * bytes_of_sample(ws)))
    return ws.store.plan("sampled", 1, config, inputs, make, cost=lambda: cost)


def digest(values: Tensor) -> str:
    """What stands for numbers in an address."""
    return hashlib.sha256(values.contiguous().numpy().tobytes()).hexdigest()


def write_roles(ws: Workspace, folder: Path) -> None:
    """Write which items the queries take their conditions from, and which of them are attributed."""
    table = ws.query_split.items.iloc[query_items(ws)].rename(columns={"id": "condition_from"})
    count = len(table)
    table.insert(0, "role", ["attributed" if index < ws.queries.attributed else "control" for index in range(count)])
    table.insert(0, "query", range(count))
    write_table(folder / TABLE, table)


def plan_batches(ws: Workspace, model: Plan) -> list[Plan]:
    """The batches that the queries are made of."""

    def plan_batch(batch: range) -> Plan:
        def make(folder: Path) -> None:
            rngs = [query_generator(ws.seed, ws.queries.numbers[index]) for index in batch]
            conditions = ws.query_split.condition(query_items(ws)[batch.start : batch.stop])
            save_sampled(folder, *sample(ws, model, rngs, conditions))

        def cost() -> Cost:
            passes, count = count_evaluations(ws), len(batch)
            work = None if passes is None else Work(evaluations=count * passes, images=count)
            return Cost(work and replace(work, bytes=count * bytes_of_sample(ws)), [model])

        config = generation_config(ws) | {"queries": [batch.start, batch.stop]}
        return ws.store.plan("generate_batch", 2, config, {"model": model.address}, make, cost=cost, like=ws.size)

    count, size = ws.queries.generated, ws.queries.batch_size
    return [plan_batch(range(start, min(start + size, count))) for start in range(0, count, size)]


def count_evaluations(ws: Workspace) -> int | None:
    """How often the network is evaluated for one image, guidance and all; None where the variant does not say."""
    passes = ws.diffusion.count_evaluations()
    guided = guidance(ws) not in (None, UNGUIDED)
    return None if passes is None else passes * (2 if guided else 1)


def bytes_of_sample(ws: Workspace) -> int:
    """What x and the image of one query take on the disk."""
    pixels = ws.data.channels * ws.data.resolution**2
    return (math.prod(ws.x_shape) + pixels) * NUMBER_BYTES


def generation_config(ws: Workspace) -> dict[str, Any]:
    """What generated images depend on besides the model and their number."""
    given: dict[str, Any] = {}
    if ws.prompts:
        assert ws.dataset.text is not None  # check_prompts
        given = {"prompts": digest_prompts(ws.prompts), "text": describe_text(ws.dataset.text, ws.setting())}
        if prompts_are_drawn(ws):
            given["drawn"] = True
    if ws.queries.conditions is not None:
        given["conditions"] = [str(value) for value in ws.queries.conditions]
    if ws.queries.seeds is not None:
        given["seeds"] = ws.queries.seeds
    return given | sampling_config(ws)


def sampling_config(ws: Workspace) -> dict[str, Any]:
    """The same, besides the conditions."""
    return {
        "diffusion": ws.diffusion.describe(),
        "codec": ws.codec.describe() | {"identity": dict(ws.codec.identity())},
        "guidance": guidance(ws),
        "weights": ws.weights,
        "seed": ws.seed,
    }


def query_items(ws: Workspace) -> np.ndarray:
    """For each query, the item of ``query_split`` that it takes its condition from: a permutation of them under this
    seed, the attributed queries first (as in the code of MUCS), repeated where there are more queries than items. Given
    pictures, conditions, and prompts that are all attributed stay in their order. Raises UserError for a condition that
    no item has."""
    count = len(ws.query_split)
    if ws.queries.conditions is not None:
        check_conditional(ws.query_split, "queries.conditions")
        named, wanted = ws.query_conditions, map(str, ws.queries.conditions)
        items = [find_condition(named, value, "queries.conditions") for value in wanted]
        return np.resize(np.array(items), ws.queries.generated)
    kept = ws.pictures or (ws.prompts and not prompts_are_drawn(ws))
    order = np.arange(count) if kept else generator(ws.seed, "queries").permutation(count)
    return np.resize(order, ws.queries.generated)


def prompts_are_drawn(ws: Workspace) -> bool:
    """Whether more prompts are given than queries are attributed: which of them are is drawn, as of items; in the order
    of a file they could be those of one style."""
    return len(ws.prompts) > ws.queries.attributed


def load_queries(ws: Workspace, plan: Plan) -> Queries:
    """All queries that a plan of ``generate`` holds; generated first where they must be."""
    artifact = plan.get()
    return make_queries(ws, plan, load_x(artifact), load_images(artifact))


def blank_queries(ws: Workspace, plan: Plan) -> Queries:
    """What stands for all queries that a plan of ``generate`` will hold: their images are blank and take no memory."""
    count, data = ws.queries.generated, ws.data
    images = torch.zeros(1).expand(count, data.channels, data.resolution, data.resolution)
    return make_queries(ws, plan, torch.zeros(1).expand(count, *ws.x_shape), images)


def make_queries(ws: Workspace, plan: Plan, x: Tensor, images: Tensor) -> Queries:
    """All queries of a plan of ``generate``, from what it holds of them."""
    items = query_items(ws)
    if ws.queries.explained == ITSELF:
        return Queries(x, images, None, ws.query_split.items.iloc[items], plan.address, slice(0, 1), names=(ITSELF,))
    return Queries(
        x=x,
        images=images,
        conditions=ws.query_split.condition(items),
        items=ws.query_split.items.iloc[items],
        address=plan.address,
        indices=slice(0, len(images)),
        guidance=guidance(ws),
        numbers=() if ws.pictures else tuple(ws.queries.numbers),
        names=tuple(ws.pictures),
    )


def guidance(ws: Workspace) -> float | None:
    """The weight of classifier-free guidance; none for an unconditional model."""
    return ws.queries.guidance if ws.data.condition_size else None


def sample(
    ws: Workspace,
    model: Plan,
    rngs: Sequence[np.random.Generator],
    conditions: Tensor | None,
    description: str | None = None,
) -> tuple[Float[Tensor, "image *x"], Float[Tensor, "image channel height width"]]:
    """``sample_from`` a trained model."""
    return sample_from(ws, load_network(ws, model), rngs, conditions, description)


def sample_from(
    ws: Workspace,
    network: Network,
    rngs: Sequence[np.random.Generator],
    conditions: Tensor | None,
    description: str | None = None,
) -> tuple[Float[Tensor, "image *x"], Float[Tensor, "image channel height width"]]:
    """For each generator and condition x as the sampler leaves it, and the image in [-1, 1].

    ``queries.batch_size`` at a time, with the queries' guidance. Raises UserError where they are not finite.
    """
    size = ws.queries.batch_size
    starts: Any = range(0, len(rngs), size)
    parts, images = [], []
    for start in starts if description is None else track(starts, description, len(starts)):
        part = slice(start, start + size)
        given = Given(None if conditions is None else conditions[part].to(ws.device))
        with torch.inference_mode():
            x = ws.diffusion.sample(network, list(rngs[part]), ws.x_shape, given, guidance(ws))
            check_sampled(ws, x)
            parts.append(x.float().cpu())
            images.append(ws.codec.decode(x, ws.data.channels).float().cpu())
    return torch.cat(parts), torch.cat(images)


def check_sampled(ws: Workspace, x: Float[Tensor, "image *x"]) -> None:
    """Raise UserError where a sampler has left the range of numbers."""
    if not x.isfinite().all():
        guided = guidance(ws) is not None
        remedies = ["lower queries.guidance"] if guided else []
        if "steps" not in ws.diffusion.unread():
            remedies.append("raise diffusion.steps")
        raise UserError(
            f"diffusion={ws.cfg.diffusion.name} generates images that are not finite: "
            f"{', or '.join(remedies) or 'choose another diffusion.sampler'}."
        )
