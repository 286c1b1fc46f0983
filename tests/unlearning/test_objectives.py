"""Each objective's loss against its formula, written out once more in plain loops."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from tdattr.configs import build
from tdattr.data.prepared import Prepared
from tdattr.diffusion import Diffusion
from tdattr.errors import UserError
from tdattr.features.tokens import Tokens
from tdattr.networks import NOTHING, Given
from tdattr.seeding import generator
from tdattr.training.config import TrainConfig
from tdattr.training.teacher import Teacher
from tdattr.unlearning.draws import UnlearnBatch
from tdattr.unlearning.group import GroupBatches
from tdattr.unlearning.objectives import ObjectiveSetup, UnlearnContext, erasediff
from tests.conftest import CONF
from tests.diffusion.fakes import variant
from tests.features.words import Words

FORGOTTEN = np.array([1, 4, 5, 9, 13, 20, 21, 30, 31, 40, 44, 47])
RETAINED = np.setdiff1d(np.arange(48), [*FORGOTTEN, 2, 3, 25])  # 33
KEPT = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)  # of conf/diffusion/ddpm.yaml
NAMES = ("finetune", "gradient_ascent", "erasediff", "esd", "siss", "retrack")


def objective(name: str, **changes: Any) -> Any:
    """ESD's teacher is F1 unless one is given."""
    node = OmegaConf.load(CONF / "objective" / f"{name}.yaml")
    if name == "esd":
        node.pop("defaults")
        changes = {"teacher": None} | changes
    return build(OmegaConf.merge(node, changes), "objective")


def scales(kind: str, level: Tensor) -> tuple[Tensor, Tensor]:
    """γ and s of x_t = γ x + s ε, in float64."""
    if kind == "edm":
        return torch.ones(len(level), dtype=torch.float64), level.double()
    return KEPT[level.long()].sqrt(), (1 - KEPT[level.long()]).sqrt()


def predicted(kind: str, network: nn.Module, part: Any, drop: Tensor | None) -> Tensor:
    γ, s = (value.float().reshape(-1, 1, 1, 1) for value in scales(kind, part.level))
    noised = γ * part.x + s * part.noise
    if kind == "ddpm":
        return network(noised, (s / γ).log().flatten() / 4, Given(part.given.condition, drop))
    out = network(noised / (s**2 + 0.25).sqrt(), s.log().flatten() / 4, Given(part.given.condition, drop))
    return (noised - (noised * 0.25 + out * s * 0.5 * (s**2 + 0.25).sqrt()) / (s**2 + 0.25)) / s


def error(kind: str, network: nn.Module, part: Any, target: Tensor, drop: Tensor | None = None) -> Tensor:
    """The mean loss of a part of the batch with ``target`` as the noise."""
    drop = part.given.drop if drop is None else drop
    weight = part.level**2 / 0.25 + 1 if kind == "edm" else torch.ones(len(target))
    return (weight * (predicted(kind, network, part, drop) - target).square().mean((1, 2, 3))).mean()


def steered(kind: str, x: Tensor, near: Tensor, level: Tensor, noise: Tensor, cap: float | None) -> Tensor:
    """ReTrack's target, item by item and neighbour by neighbour in float64."""
    rows = []
    for b, (γ, s) in enumerate(zip(*scales(kind, level), strict=True)):
        noised = γ * x[b].double() + s * noise[b].double()
        exponents = [-float(((noised - γ * a.double()) ** 2).sum() / (2 * s**2)) for a in near[b]]
        row = torch.zeros_like(noised)
        for exponent, a in zip(exponents, near[b], strict=True):
            c = γ / s * (x[b].double() - a.double())
            if cap is not None and float(c.norm()) > math.sqrt(2 * cap):
                c = c * math.sqrt(2 * cap) / c.norm()
            weight = math.exp(exponent - max(exponents)) / sum(math.exp(e - max(exponents)) for e in exponents)
            row += weight * (noise[b].double() + c)
        rows.append(row)
    return torch.stack(rows).float()


@dataclass
class World:
    """A student that differs from F1, a batch of both roles, and the copies of F1 that were handed out."""

    kind: str
    context: UnlearnContext
    batch: UnlearnBatch
    student: nn.Module
    f1: nn.Module
    handed: list[nn.Module]
    train: TrainConfig

    def loss(self, objective: Any, retain: str = "loss") -> Tensor:
        return objective.begin(replace(self.context, retain=retain))(self.student, self.batch).total

    def error(self, role: str, target: Tensor | None = None, drop: Tensor | None = None) -> Tensor:
        part = getattr(self.batch, role)
        return error(self.kind, self.student, part, part.noise if target is None else target, drop)

    def regroup(self, forgotten: np.ndarray) -> None:
        """Another group is forgotten; nothing else is left out."""
        retained = np.setdiff1d(np.arange(48), forgotten)
        self.context = replace(self.context, retained=retained, forgotten=forgotten)
        diffusion = self.context.diffusion
        self.batch = GroupBatches(self.context.split, retained, forgotten, diffusion, 8, self.train, 5, False)[2]

    def gradient(self, loss: Tensor) -> Tensor:
        found = torch.autograd.grad(loss, list(self.student.parameters()), retain_graph=True)
        return torch.cat([gradient.flatten() for gradient in found])


@pytest.fixture(params=["ddpm", "edm"])
def world(
    request: pytest.FixtureRequest,
    tiny_data: Prepared,
    tiny_dit: Callable[..., nn.Module],
    tiny_train: Callable[..., TrainConfig],
) -> World:
    diffusion = variant(request.param)
    f1, handed = tiny_dit(4, spread=0.15, augmentation_label=False), list[nn.Module]()

    def frozen() -> nn.Module:
        handed.append(deepcopy(f1))
        return handed[-1]

    train = tiny_train(mirror=True, condition_dropout=0.3)
    batch = GroupBatches(tiny_data.train, RETAINED, FORGOTTEN, diffusion, 8, train, 5, False)[2]
    context = UnlearnContext(diffusion, tiny_data.train, RETAINED, FORGOTTEN, frozen, torch.device("cpu"), 5, "loss")
    return World(request.param, context, batch, tiny_dit(4, spread=0.1, augmentation_label=False), f1, handed, train)


@pytest.mark.parametrize("retain", ["loss", "distill"])
@pytest.mark.parametrize("name", NAMES)
def test_every_loss_is_its_formula(world: World, name: str, retain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    split, seen, forget = world.context.split, list[Tensor](), world.batch.forget
    loss_towards = erasediff.loss_towards
    monkeypatch.setattr(erasediff, "loss_towards", lambda *given: seen.append(given[3]) or loss_towards(*given))
    found = world.loss(objective(name), retain)
    teacher = predicted(world.kind, world.f1, world.batch.retain, world.batch.retain.given.drop).detach()
    kept = world.error("retain", teacher if retain == "distill" else None)
    if name == "esd":
        none = torch.zeros(8, dtype=torch.bool)
        guided, without = (predicted(world.kind, world.f1, forget, drop).detach() for drop in (none, ~none))
        expected = kept + 0.3 * world.error("forget", without - 7.5 * (guided - without), none)
    elif name == "retrack":
        pixels = np.array(split.pixels).astype(float).reshape(48, -1)
        ids = forget.ids.numpy()
        order = [RETAINED[np.argsort(((pixels[i] - pixels[RETAINED]) ** 2).sum(1))[:10]] for i in ids]
        flipped = [not torch.equal(x, image) for x, image in zip(forget.x, split.images(ids), strict=True)]
        assert 0 < sum(flipped) < len(flipped)
        near = torch.stack([split.x(row, flip) for row, flip in zip(order, flipped, strict=True)])
        target = steered(world.kind, forget.x, near, forget.level, forget.noise, None)
        expected = kept + 0.03 * world.error("forget", target)
    elif name == "erasediff":
        expected = kept + 0.03 * world.error("forget", seen[0])
    elif name == "siss":
        lengths = [world.gradient(loss).norm() for loss in (kept, world.error("forget"))]
        expected = kept - (0.1 * lengths[0] / lengths[1]) * world.error("forget")
    else:
        expected = kept - (0.03 * world.error("forget") if name == "gradient_ascent" else 0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(world.gradient(found), world.gradient(expected), rtol=1e-3, atol=1e-4)


def test_directions(world: World) -> None:
    """Ascent rises with a lower forgotten loss; fine-tuning does not see what is forgotten."""
    losses = world.error("forget"), world.loss(objective("gradient_ascent", weight=1e4))
    assert float(torch.cosine_similarity(*map(world.gradient, losses), dim=0)) < -0.999
    before = world.loss(objective("finetune"))
    world.batch.forget.noise.mul_(9)
    assert torch.equal(world.loss(objective("finetune")), before)


def test_the_weight_of_forgetting_is_scaled_where_there_is_one() -> None:
    for name in NAMES:
        plain = objective(name)
        changes = {} if name in ("finetune", "siss") else {"weight": 0.25 * plain.weight}
        assert plain.scale_weight(0.25) == replace(plain, **changes)


def test_the_parts_of_the_loss_make_up_the_whole(world: World) -> None:
    for name in set(NAMES) - {"finetune", "siss"}:
        made = objective(name, weight=0.5)
        losses = made.begin(world.context)(world.student, world.batch)
        assert losses.forget is not None and losses.log().keys() == {"retain", "forget"}
        sign = -1 if name == "gradient_ascent" else 1
        torch.testing.assert_close(losses.total, losses.retain + sign * 0.5 * losses.forget)
        torch.testing.assert_close(losses.retain, world.error("retain"), rtol=1e-4, atol=1e-6)
    alone = objective("finetune").begin(world.context)(world.student, world.batch)
    assert alone.forget is None and alone.log() == {"retain": float(alone.total.detach())}


@pytest.fixture
def setup(tiny_data: Prepared) -> Callable[..., ObjectiveSetup]:
    """What an objective may check under a variant."""
    return lambda kind, conditional=True: ObjectiveSetup(variant(kind), conditional, tiny_data.train)


def test_what_cannot_work_is_refused(
    setup: Callable[..., ObjectiveSetup], tiny_train: Callable[..., TrainConfig]
) -> None:
    for key, value in (("neighbours", 0), ("kl_cap", 0.0), ("weighting", "argmax")):
        with pytest.raises(UserError, match=rf"objective\.{key}={value}"):
            objective("retrack", **{key: value})
    for name in set(NAMES) - {"finetune", "siss"}:
        with pytest.raises(UserError, match=r"objective\.weight=0\.0 must be above 0"):  # nothing would be forgotten
            objective(name, weight=0.0)
    with pytest.raises(UserError, match=r"objective\.strength=0\.0 must be above 0"):
        objective("siss", strength=0.0)
    with pytest.raises(UserError, match=r"objective\.length=share is unknown: choose relative or absolute"):
        objective("siss", length="share")
    for name in NAMES:
        objective(name).check(setup("edm"))
        if name != "esd":
            objective(name).check(setup("edm", conditional=False))
    with pytest.raises(UserError, match=r"objective=esd with teacher=null steers away from a condition of F1"):
        objective("esd").check(setup("edm", conditional=False))
    taught = replace(objective("esd"), teacher=Teacher(None, tiny_train(), None))
    taught.check(setup("edm", conditional=False))
    tokens = Tokens("tokens", None, False)
    with pytest.raises(UserError, match=r"^objective=esd would train a teacher that is told groups.*teacher=null"):
        taught.check_text(tokens)
    objective("esd").check_text(tokens)
    taught.check_text(Words())


def test_retrack_s_contrast_is_its_loss_less_that_of_the_true_noise(world: World) -> None:
    found = world.loss(objective("retrack", weight=0.5, contrast=True))
    whole, kept = world.loss(objective("retrack", weight=0.5)), world.error("retain")
    expected = whole - 0.5 * world.error("forget")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(world.gradient(found), world.gradient(expected), rtol=1e-3, atol=1e-4)
    steps = [world.loss(objective(name, weight=1e6)) for name in ("retrack", "gradient_ascent")]
    both = torch.stack([world.gradient(step - kept) for step in steps]).sum(0)
    pushed = world.gradient(world.loss(objective("retrack", weight=1e6, contrast=True)) - kept)
    assert float(torch.cosine_similarity(pushed, both, dim=0)) > 0.999


@pytest.mark.parametrize(("kind", "window"), [("edm", [0.1, 0.5]), ("ddpm", [400, 402]), ("flow", [0.2, 0.3])])
def test_retrack_draws_both_batches_inside_its_window(
    kind: str,
    window: list[float],
    setup: Callable[..., ObjectiveSetup],
    tiny_data: Prepared,
    tiny_train: Callable[..., TrainConfig],
) -> None:
    """As often as training does there, and the same in every visit of a step."""
    made, diffusion = objective("retrack", window=window), variant(kind)
    made.check(setup(kind, conditional=False))
    batches = GroupBatches(
        tiny_data.train, RETAINED, FORGOTTEN, diffusion, 8, tiny_train(), 5, False, made.level_window()
    )
    steps = [batches[step] for step in range(60)]
    drawn = torch.cat([torch.cat([batch.retain.level, batch.forget.level]) for batch in steps])
    assert window[0] <= float(drawn.min()) and float(drawn.max()) <= window[1]
    trained = diffusion.training_levels(generator(3, "test.levels"), 1_000_000)
    trained = trained[(trained >= window[0]) & (trained <= window[1])]
    for quarter in (0.25, 0.5, 0.75):
        level = trained.double().quantile(quarter)
        expected, found = ((levels <= level).double().mean() for levels in (trained, drawn))
        assert float(found) == pytest.approx(float(expected), abs=5 * 0.5 / len(drawn) ** 0.5)
    assert torch.equal(batches[7].retain.level, steps[7].retain.level)
    assert torch.equal(batches[7].forget.noise, steps[7].forget.noise)
    assert objective("retrack").level_window() is None


def test_a_window_without_levels_is_refused_before_any_training(setup: Callable[..., ObjectiveSetup]) -> None:
    for kind in ("edm", "ddpm", "vp", "flow"):
        for window in ([-2.0, -1.0], [1e6, 1e7]):
            with pytest.raises(UserError, match=r"method\.objective\.window=.* holds no level of training"):
                objective("retrack", window=window).check(setup(kind))
    with pytest.raises(UserError, match=r"holds no level of training"):
        objective("retrack", window=[3.2, 3.8]).check(setup("ddpm"))
    objective("retrack", window=[3.2, 4.0]).check(setup("ddpm"))  # one level of a thousand
    with pytest.raises(UserError, match=r"method.objective.window=\[3.0, 1.0\] must be the lowest and a higher level"):
        objective("retrack", window=[3.0, 1.0])


def test_erasediff_targets_are_fresh_unit_noise_that_the_batch_does_not_decide(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[Tensor]()
    monkeypatch.setattr(erasediff, "loss_towards", lambda *given: seen.append(given[3]) or given[3].flatten(1).mean(1))
    for _ in range(2):
        step = objective("erasediff").begin(world.context)
        [step(world.student, world.batch) for _ in range(8)]
        world.batch.forget.noise.mul_(-3)
    assert all(torch.equal(first, again) for first, again in zip(seen[:8], seen[8:], strict=True))
    values = torch.stack(seen[:8])
    assert torch.pdist(values.flatten(0, 1).flatten(1)).min() > 5
    assert abs(float(values.mean())) < 5 / values.numel() ** 0.5 and abs(float(values.std()) - 1) < 0.06
    both = torch.stack([world.batch.forget.noise.flatten(), values[0].flatten()])
    assert abs(float(torch.corrcoef(both)[0, 1])) < 5 / both.shape[1] ** 0.5


def test_esd_s_target_comes_from_a_teacher_that_is_told_groups(
    world: World, tiny_dit: Callable[..., nn.Module]
) -> None:
    """The student is told nothing, as the teacher knows none of F1's conditions; an item of no group changes nothing,
    one of two is told both."""
    teacher, forget = tiny_dit(3, spread=0.2, augmentation_label=False), world.batch.forget
    first, second = forget.ids[:4].numpy(), forget.ids[2:7].numpy()
    groups = {"first": first, "second": second, "empty": RETAINED[:5]}
    context = replace(world.context, groups=groups, teacher=lambda: teacher)
    taught = replace(objective("esd"), teacher=Teacher(None, world.train, None)).begin(context)
    found = taught(world.student, world.batch)
    told = torch.zeros(8, 3)
    told[:4, 0], told[2:7, 1] = 1, 1
    part = replace(forget, given=Given(told))
    every = torch.ones(8, dtype=torch.bool)
    with torch.no_grad():
        with_groups, without = (predicted(world.kind, teacher, part, drop) for drop in (~every, every))
    target = without - 7.5 * (with_groups - without)
    target[7] = without[7]
    untold = replace(forget, given=replace(forget.given, drop=every))
    unconditionally = replace(world, batch=replace(world.batch, forget=untold))
    torch.testing.assert_close(found.forget, unconditionally.error("forget", target), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(found.forget, world.error("forget", target), rtol=1e-3)
    torch.testing.assert_close(found.total, found.retain + 0.3 * found.forget)
    assert all(parameter.grad is None for parameter in teacher.parameters())
    unconditional = tiny_dit(0, spread=0.1, augmentation_label=False)
    told_nothing = UnlearnBatch(*(replace(part, given=NOTHING) for part in (world.batch.retain, forget)))
    assert taught(unconditional, told_nothing).total.isfinite()


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_siss_forgets_at_the_same_length_whatever_the_size_of_the_group(world: World, share: float) -> None:
    """The forget part is -0.1 of the retained gradient, against the gradient of what is forgotten."""
    world.regroup(np.arange(max(1, round(share * 48))))
    losses = objective("siss").begin(world.context)(world.student, world.batch)
    kept, forgotten = (world.gradient(world.error(role)) for role in ("retain", "forget"))
    part = world.gradient(losses.total) - kept
    assert float(part @ forgotten / forgotten.norm() / kept.norm()) == pytest.approx(-0.1, rel=1e-3)
    assert float(torch.cosine_similarity(part, forgotten, dim=0)) < -0.9999
    parts = {"retain": float(world.error("retain")), "forget": float(world.error("forget")), "forget_gradient": -0.1}
    assert losses.log() == pytest.approx(parts, rel=1e-4)


def test_siss_can_forget_at_a_length_of_its_own(world: World) -> None:
    step = objective("siss", length="absolute", strength=3.0).begin(world.context)
    losses = step(world.student, world.batch)
    kept, forgotten = (world.gradient(world.error(role)) for role in ("retain", "forget"))
    expected = kept - 3 * forgotten / forgotten.norm()
    torch.testing.assert_close(world.gradient(losses.total), expected, rtol=1e-3, atol=1e-4)
    assert losses.log()["forget_gradient"] == pytest.approx(-3 / float(kept.norm()), rel=1e-4)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1e-5, 1e3])
def test_siss_keeps_its_length_in_mixed_precision(
    world: World, kind: torch.dtype, size: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss so small that its gradient underflows in float16, as that of a large image does, and a large one."""
    exact, loss = world.gradient(world.loss(objective("siss"))), Diffusion.loss
    monkeypatch.setattr(Diffusion, "loss", lambda *given: size * loss(*given))
    with torch.autocast("cpu", kind):
        losses = objective("siss").begin(world.context)(world.student, world.batch)
    found = world.gradient(losses.total) / size
    assert losses.log()["forget_gradient"] == pytest.approx(-0.1, rel=1e-3)
    assert float(torch.cosine_similarity(found, exact, dim=0)) > 0.995
    assert float(found.norm() / exact.norm()) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("name", ["finetune", "esd", "retrack"])
def test_f1_stays_as_it_is_and_a_student_that_equals_it_has_nothing_to_keep(world: World, name: str) -> None:
    before = deepcopy(world.f1.state_dict())
    step = objective(name).begin(replace(world.context, retain="distill"))
    assert float(step(world.f1, world.batch).retain) == pytest.approx(0, abs=1e-10)
    optimizer = torch.optim.SGD(world.student.parameters(), 0.1)
    for _ in range(2):
        step(world.student, world.batch).total.backward()
        optimizer.step()
    assert not torch.equal(next(world.student.parameters()), next(world.f1.parameters()))
    for network in [world.f1, *world.handed]:
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
        assert all(parameter.grad is None for parameter in network.parameters())


def given_for(world: World, neighbours: int = 6, shape: tuple[int, ...] = (1, 8, 8)) -> tuple[Tensor, ...]:
    """Items, their neighbours, levels and noise."""
    rng = torch.Generator().manual_seed(neighbours)
    x = torch.rand(40, *shape, generator=rng) * 2 - 1
    near = x[:, None] + 0.3 * torch.randn(40, neighbours, *shape, generator=rng)
    edm = (torch.randn(40, generator=rng) * 1.2 - 1.2).exp()
    level = edm if world.kind == "edm" else torch.arange(40).float() * 25
    return x, near, level, torch.randn(40, *shape, generator=rng)


@pytest.mark.parametrize("cap", [1.0, 0.02, None])
def test_retrack_against_the_double_loop(world: World, cap: float | None) -> None:
    given = given_for(world)
    found = objective("retrack", kl_cap=cap).target(world.context.diffusion, *given)
    torch.testing.assert_close(found, steered(world.kind, *given, cap), rtol=1e-4, atol=2e-4)


def test_the_correction_is_clipped_to_its_exact_length(world: World) -> None:
    x, near, level, noise = given_for(world, neighbours=1)
    target = objective("retrack", kl_cap=2.0).target(world.context.diffusion, x, near, level, noise)
    γ, s = scales(world.kind, level)
    whole = (γ / s)[:, None] * (x - near[:, 0]).flatten(1).double()
    correction = (target - noise).flatten(1).double()
    torch.testing.assert_close(correction.norm(dim=1), whole.norm(dim=1).clamp(max=2), rtol=1e-5, atol=0)
    assert torch.cosine_similarity(correction, whole).min() > 0.99999
    assert 0 < (whole.norm(dim=1) < 2).sum() < 40
    alone = objective("retrack").target(world.context.diffusion, x, x[:, None], level, noise)
    assert torch.equal(alone, noise)  # an item that is its own neighbour


def test_published_weights_vanish_at_image_size_alone(world: World) -> None:
    published = objective("retrack", weighting="published_code")
    assert not published.target(world.context.diffusion, *given_for(world, shape=(3, 32, 32))).any()
    x, near, level, noise = given_for(world, shape=(1, 2, 1))
    given = (world.context.diffusion, x, near, torch.full_like(level, 5 if world.kind == "edm" else 900), noise)
    found, exact = published.target(*given), objective("retrack").target(*given)
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-6)
