"""How much faster are gradient features than by D-TRAK's own loop, with the same features?

D-TRAK's loop (arXiv 2311.00500, the authors' code) takes a batch of items and one timestep after the other, of which
`vmap(grad)` gives the gradient of every item; they are flattened and added up, and their mean is projected, batch by
batch. DAS (arXiv 2410.18639) divides every gradient by its length first. Ours are `Gradients.of` and `project`; both
ways use our projection. Networks have random weights, and the items are scikit-learn's digits. Prints milliseconds for
the gradient of an item at a draw and for the projection of an item, how many times as fast we are, by how much the
gradients differ relative to the largest one, and memory.

    python benchmarks/gradient_features.py [--model dit_tiny] [--accelerator auto] [--items 64] [--draws 10]
        [--rounds 3] [--loop-batch 32] [--batch 64] [--dimension 4096] [--parameters all] [--kinds dtrak das]
        [--threads 1]
"""

import argparse
import statistics

import torch
from jaxtyping import Float
from small_models import alternate, choose_device, make_edm, make_items, make_network, name_device
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from tdattr.networks import NOTHING, Given
from tdattr.scoring.gradients import OUTPUTS, GradientConfig, Gradients
from tdattr.scoring.projection import ProjectionConfig, project, spans

KINDS = {"dtrak": ("squared_output", False), "das": ("mean_output", True)}


def loop(ours: Gradients, x: Float[Tensor, "item *x"]) -> Float[Tensor, "item parameter"]:
    """The gradients of a batch of items, one draw after the other."""
    parameters = {name: value.detach() for name, value in ours.network.named_parameters()}
    selected = {name: parameters[name] for name in ours.names}
    rest = {name: value for name, value in parameters.items() if name not in selected}

    def output(selected: dict[str, Tensor], x: Tensor, level: Tensor, noise: Tensor) -> Tensor:
        outputs: list[Tensor] = []

        def network(x: Tensor, c_noise: Tensor, given: Given) -> Tensor:
            outputs.append(functional_call(ours.network, (selected, rest), (x, c_noise, given)))
            return outputs[-1]

        losses = ours.diffusion.loss(network, x[None], level[None], noise[None], NOTHING)
        return OUTPUTS[ours.config.output](losses, outputs[0].flatten(1))[0]

    total = torch.zeros(len(x), ours.size, device=x.device)
    with sdpa_kernel(SDPBackend.MATH):
        for level, noise in zip(ours.noise.levels, ours.noise.noise, strict=True):
            found = vmap(grad(output), in_dims=(None, 0, None, None))(selected, x, level, noise)
            flat = torch.cat([found[name].flatten(1) for name in ours.names], dim=1)
            total += flat / flat.norm(dim=1, keepdim=True) if ours.config.normalise else flat
    return total / len(ours.noise)


def measure(kind: str, options: argparse.Namespace, device: torch.device) -> None:
    """Both ways for the gradients of one method."""
    output, normalise = KINDS[kind]
    projection = ProjectionConfig("rademacher", options.dimension, 1)
    config = GradientConfig(output, options.draws, "generation", normalise, options.parameters, projection)  # type: ignore[arg-type]
    network, diffusion = make_network(options.model, device), make_edm()
    x = make_items(options.model, options.items).to(device)
    noise = config.noise_set(diffusion, tuple(x.shape[1:]), 0).to(device)
    ours = Gradients(network, diffusion, config, network.parameter_names(config.parameters), noise, options.batch)
    parts = list(spans(len(x), options.loop_batch))

    gradients = alternate(
        {"loop": lambda: [loop(ours, x[part]) for part in parts], "ours": lambda: ours.of(x, NOTHING)},
        options.rounds,
        device,
    )
    flat = gradients["ours"].result
    projections = alternate(
        {
            "loop": lambda: torch.cat([project(flat[part], projection, 0) for part in parts]),
            "ours": lambda: project(flat, projection, 0),
        },
        options.rounds,
        device,
    )
    exact = torch.cat(gradients["loop"].result)
    off = float((flat - exact).abs().max() / exact.abs().max())
    print(f"{kind}: {ours.size} parameters, {len(x)} items at {len(noise)} draws, {options.dimension} dimensions")
    for name in ("loop", "ours"):
        draw = 1000 * statistics.median(gradients[name].seconds) / options.items / options.draws
        item = 1000 * statistics.median(projections[name].seconds) / options.items
        print(
            f"  {name}: gradient {draw:8.3f} ms an item and draw, {gradients[name].memory:.0f} MiB; projection "
            f"{item:8.3f} ms an item"
        )
    print(
        f"  gradients {gradients['loop'].ratio(gradients['ours'])} times as fast, projections "
        f"{projections['loop'].ratio(projections['ours'])}; gradients differ by {off:.1e} at most"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="dit_tiny")
    parser.add_argument("--accelerator", default="auto", choices=["auto", "cpu", "gpu"])
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loop-batch", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--dimension", type=int, default=4096)
    parser.add_argument("--parameters", default="all")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = choose_device(options.accelerator)
    print(f"{options.model} on {name_device(device)}")
    for kind in options.kinds:
        measure(kind, options, device)


if __name__ == "__main__":
    main()
