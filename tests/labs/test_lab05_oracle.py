"""The reference of lab 05 against diffusers' own VAE, pipelines and image processor, and by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from fixtures import minisd
from tests.labs import witness
from tests.labs.witness import normal, seeded

lab, recipe = witness.reference("lab05"), witness.recipe("lab05")


def test_the_whole_lab_written_twice():
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    vae = recipe.tiny_vae((8, 8, 8, 8), latent_channels=4).eval()
    u8 = torch.randint(0, 256, (2, 32, 48, 3), generator=seeded(0), dtype=torch.uint8)
    y, sizes = 1.5 * normal(1, 2, 3, 8, 16), (32, 48, 2, (8, 8, 8, 8), 4, 4, 1, False)
    pictures, files = recipe.codec(u8, y)
    said = vae.encode(pictures).latent_dist
    moments = said.parameters

    ours = {}
    ours["pictures"] = lab.image_codec(u8, y)["encoded"]
    ours["files"] = lab.image_codec(u8, y)["decoded"]
    ours["z"] = z = lab.posterior(moments, seeded(2))["sample"]
    ours["mode"] = lab.posterior(moments, seeded(2))["mode"]
    ours["std"] = lab.posterior(moments, seeded(2))["std"]
    ours["x0"] = x0 = lab.latent_norm(z, 0.18215, None, "encode")
    ours["back"] = lab.latent_norm(x0, 0.18215, None, "decode")
    ours["x_t"] = lab.img2img_latents(moments, 700, scheduler.alphas_cumprod, 0.18215, seeded(3))
    ours["shape"] = torch.tensor(lab.latent_budget(*sizes)["latent_shape"])
    ours["bytes"] = torch.tensor(lab.latent_budget(*sizes)["latent_bytes"])
    ours["std_of_all"] = torch.tensor(1 / lab.fit_latent_norm([z[:1], z[1:]])["scaling_factor"])

    theirs = {}
    theirs["pictures"] = pictures
    theirs["files"] = files
    theirs["z"] = said.sample(seeded(2))
    theirs["mode"] = said.mode()
    theirs["std"] = said.std
    theirs["x0"] = recipe.sd_encoded(z, 0.18215)
    theirs["back"] = recipe.before_decode(recipe.SD, x0, vae.config)
    theirs["x_t"] = recipe.sd_latents(moments, 700, 0.18215, seeded(3), scheduler)
    theirs["shape"] = torch.tensor(x0.shape)
    theirs["bytes"] = torch.tensor(x0.nbytes)

    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name
    torch.testing.assert_close(lab.posterior(moments, seeded(2))["kl"], said.kl(), atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(ours["std_of_all"], z.std(correction=0))


# The recording


@pytest.mark.parametrize("case", recipe.POSTERIORS)
def test_gives_the_golden_posterior(case):
    golden = witness.case("lab05", f"posterior_{case}")
    generator = seeded(golden["seed"].item())
    answer = lab.posterior(golden["moments"], generator)
    for key in ("mode", "std", "sample", "kl"):
        torch.testing.assert_close(answer[key], golden[key], atol=2e-5, rtol=2e-5)
    assert torch.equal(torch.rand((), generator=generator), golden["next_draw"])


@pytest.mark.parametrize("case", [*recipe.SHIFTS, *recipe.STATISTICS])
def test_gives_the_golden_latents(case):
    golden = witness.case("lab05", f"norm_{case}")
    _, scaling, shift = recipe.SHIFTS.get(case) or (*recipe.STATISTICS[case], None)
    channels = (golden.get("mean"), golden.get("std"))
    encoded = lab.latent_norm(golden["z"], scaling, shift, "encode", *channels)
    decoded = lab.latent_norm(golden["encoded"], scaling, shift, "decode", *channels)
    torch.testing.assert_close(encoded, golden["encoded"], atol=2e-6, rtol=2e-6)
    torch.testing.assert_close(decoded, golden["decoded"], atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("case", recipe.BUDGETS)
def test_gives_the_golden_budget(case):
    golden, budget = witness.case("lab05", f"budget_{case}"), lab.latent_budget(*recipe.BUDGETS[case])
    assert budget.keys() == golden.keys()
    assert budget["latent_shape"] == tuple(golden.pop("latent_shape").tolist())
    for key, value in golden.items():
        assert type(budget[key]) is type(value.item()) and budget[key] == pytest.approx(value.item(), rel=1e-12), key


@pytest.mark.parametrize("case", recipe.CODECS)
def test_gives_the_golden_pictures(case):
    golden = witness.case("lab05", f"codec_{case}")
    answer = lab.image_codec(golden["u8"], golden["y"])
    torch.testing.assert_close(answer["encoded"], golden["encoded"], atol=1e-6, rtol=0)
    assert torch.equal(answer["decoded"], golden["decoded"])


@pytest.mark.parametrize("case", recipe.STARTS)
def test_gives_the_golden_start(case):
    golden, (_, timestep, scaling) = witness.case("lab05", f"start_{case}"), recipe.STARTS[case]
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    generator = seeded(golden["seed"].item())
    latents = lab.img2img_latents(golden["moments"], timestep, scheduler.alphas_cumprod, scaling, generator)
    torch.testing.assert_close(latents, golden["latents"], atol=2e-6, rtol=2e-6)
    assert torch.equal(torch.rand((), generator=generator), golden["next_draw"])


# Predictions, each with a witness that is not the formula itself


def test_prediction_of_the_latents_shape():
    vae = recipe.tiny_vae((4, 4, 4, 4), latent_channels=4).to("meta")
    with torch.no_grad():
        shape = vae.encode(torch.empty(3, 3, 768, 512, device="meta")).latent_dist.mean.shape
    assert lab.checkpoint_latent_shape() == tuple(shape)


def test_prediction_of_the_scaling():
    answer, z = lab.checkpoint_scaling(), normal(0, 1, 4, 64, 64)
    z = 4 * (z - z.mean()) / z.std()
    config = SimpleNamespace(scaling_factor=answer["scaling_factor"])
    model = recipe.sd_encoded(z, answer["scaling_factor"])
    found = {
        "scaling_factor": 1 / z.std().item(),
        "divided": recipe.before_decode(recipe.SD, model, config).std().item(),
    }
    found |= {"forgotten": model.std().item(), "multiplied": (model * answer["scaling_factor"]).std().item()}
    assert answer == pytest.approx(found, rel=1e-4)


@pytest.mark.parametrize("channel", range(4))
def test_prediction_of_the_channels(channel):
    # A trained decoder: what one channel alone changes, over a whole picture, is seen in red, green and blue.
    stack = minisd.load()
    z = normal(1, 4, 4, 8, 8)
    without = z.clone()
    without[:, channel] = 0
    changed = (stack.decode(z) - stack.decode(without)).abs().mean(dim=(0, 2, 3))
    assert lab.checkpoint_channels() == ("red", "green", "blue")
    assert changed.min() > 0.2 * changed.max() > 0


def test_prediction_of_the_memory():
    # The channels of Stable Diffusion's decoder: the last block's output, and the latents.
    vae = recipe.tiny_vae((128, 256, 512, 512), latent_channels=4).to("meta")
    seen = []
    vae.decoder.up_blocks[-1].register_forward_hook(lambda module, args, output: seen.append(output.numel()))
    latents = torch.empty(1, 4, 128, 128, device="meta")
    with torch.no_grad():
        picture = vae.decode(latents).sample
    found = {"picture": picture.numel() // latents.numel(), "decoder": seen[0] // latents.numel()}
    assert lab.checkpoint_memory() == found


# posterior


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 8, 4, 6), (1, 32, 5, 7), (3, 2, 4, 4)])
def test_posterior_equals_diffusers(shape, dtype):
    moments = normal(0, *shape).to(dtype)
    theirs, ours = DiagonalGaussianDistribution(moments), lab.posterior(moments, seeded(1))
    sample, tolerance = theirs.sample(seeded(1)), {"atol": 0, "rtol": 0}
    if dtype != torch.float32:  # diffusers rounds after every operation
        tolerance = {"atol": 8e-3, "rtol": 8e-3} if dtype == torch.float16 else {"atol": 6e-2, "rtol": 3e-2}
    for key, value in (("mode", theirs.mode()), ("std", theirs.std), ("sample", sample)):
        assert ours[key].dtype == dtype
        torch.testing.assert_close(ours[key], value, **tolerance)
    exact = DiagonalGaussianDistribution(moments.float()).kl()
    torch.testing.assert_close(ours["kl"], exact, atol=1e-5, rtol=1e-6)


def test_posterior_by_hand():
    # μ = 3, log σ² = ln 4: σ = 2, KL = ½(9 + 4 − 1 − ln 4) = 5.3069.
    moments = torch.tensor([3.0, math.log(4)]).reshape(1, 2, 1, 1)
    answer, eps = lab.posterior(moments, seeded(4)), torch.randn(1, 1, 1, 1, generator=seeded(4))
    assert (answer["mode"].item(), answer["std"].item()) == pytest.approx((3, 2))
    assert answer["sample"].item() == pytest.approx(3 + 2 * eps.item())
    assert answer["kl"].item() == pytest.approx(6 - math.log(2), rel=1e-6)


def test_divergence_is_the_integral_that_it_stands_for():
    # ∫ q ln(q/p) over a fine grid, for one element.
    mean, logvar = 0.7, -1.2
    z = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    q = torch.distributions.Normal(mean, math.exp(logvar / 2))
    p = torch.distributions.Normal(0.0, 1.0)
    integral = torch.trapezoid(q.log_prob(z).exp() * (q.log_prob(z) - p.log_prob(z)), z).item()
    answer = lab.posterior(torch.tensor([mean, logvar]).reshape(1, 2, 1, 1), seeded(0))
    assert answer["kl"].item() == pytest.approx(integral, rel=1e-5)
    assert lab.posterior(torch.zeros(2, 8, 3, 5), seeded(0))["kl"].tolist() == [0, 0]


def test_gradients_reach_both_halves():
    moments = normal(2, 2, 4, 2, 2).requires_grad_()
    sample = lab.posterior(moments, seeded(5))["sample"]
    (found,) = torch.autograd.grad(sample.sum(), moments)
    eps = torch.randn(2, 2, 2, 2, generator=seeded(5))
    half = 0.5 * torch.exp(0.5 * moments.detach()[:, 2:]) * eps
    torch.testing.assert_close(found, torch.cat([torch.ones_like(half), half], dim=1))


def test_the_draw_is_one_in_row_major_order_of_the_samples_shape():
    # What the starter promises of the generator: the layout of the moments does not matter to the numbers drawn.
    moments = normal(6, 2, 4, 6, 8)
    turned = moments.transpose(2, 3).contiguous().transpose(2, 3)
    assert not turned.is_contiguous()
    assert torch.equal(lab.posterior(moments, seeded(7))["sample"], lab.posterior(turned, seeded(7))["sample"])


def test_diffusers_still_sums_the_divergence_in_half_precision():
    # Not our oracle here: page.md says so. If it fails, diffusers was mended.
    moments = torch.full((1, 8, 64, 64), 3.0, dtype=torch.float16)
    assert torch.isinf(DiagonalGaussianDistribution(moments).kl()).all()
    kl = lab.posterior(moments, seeded(0))["kl"]
    assert kl.dtype == torch.float32
    assert kl.item() == pytest.approx(0.5 * 4 * 64 * 64 * (9 + math.exp(3) - 1 - 3), rel=1e-5)


# latent_norm


@pytest.mark.parametrize("shape", [(3, 4, 5, 7), (2, 16, 3, 4)])
@pytest.mark.parametrize(("scaling", "shift"), [(1.5305, 0.0609), (0.3611, 0.1159), (0.3, -2.0)])
def test_shift_equals_stable_diffusion_3_bit_for_bit(shape, scaling, shift):
    z, config = 4 * normal(0, *shape) + 1, SimpleNamespace(scaling_factor=scaling, shift_factor=shift)
    encoded = recipe.sd3_encoded(z, scaling, shift)
    torch.testing.assert_close(lab.latent_norm(z, scaling, shift, "encode"), encoded, atol=1e-6, rtol=1e-6)
    decoded = recipe.before_decode(recipe.SD3, encoded, config)
    assert torch.equal(lab.latent_norm(encoded, scaling, shift, "decode"), decoded)


@pytest.mark.parametrize("scaling", [1.0, 0.18215, 1.5])
def test_statistics_equal_ltx(scaling):
    z, mean, std = normal(0, 2, 8, 2, 3, 5), normal(1, 8), normal(2, 8).abs() + 0.2
    encoded = recipe.function(recipe.LTX, "_normalize_latents")(z, mean, std, scaling)
    torch.testing.assert_close(lab.latent_norm(z, scaling, None, "encode", mean, std), encoded)
    decoded = recipe.function(recipe.LTX, "_denormalize_latents")(encoded, mean, std, scaling)
    torch.testing.assert_close(lab.latent_norm(encoded, scaling, None, "decode", mean, std), decoded)


def test_norm_by_hand():
    # (5 − 1)·0.5 = 2, and 2/0.5 + 1 = 5; per channel (5 − 1)·0.5/4 = 0.5 and (6 + 2)·0.5/2 = 2.
    z, back = torch.full((1, 1, 1, 1), 5.0), torch.full((1, 1, 1, 1), 2.0)
    assert lab.latent_norm(z, 0.5, 1.0, "encode").item() == 2.0
    assert lab.latent_norm(back, 0.5, 1.0, "decode").item() == 5.0
    z = torch.tensor([5.0, 6.0]).reshape(1, 2, 1, 1)
    mean, std = torch.tensor([1.0, -2.0]), torch.tensor([4.0, 2.0])
    assert lab.latent_norm(z, 0.5, None, "encode", mean, std).flatten().tolist() == [0.5, 2.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_norm_in_half_precision_is_the_rounded_float32_answer(dtype):
    z = 3 * normal(0, 2, 16, 4, 4).to(dtype)
    for direction in ("encode", "decode"):
        found = lab.latent_norm(z, 0.3611, 0.1159, direction)
        assert found.dtype == dtype
        assert torch.equal(found, lab.latent_norm(z.float(), 0.3611, 0.1159, direction).to(dtype))


def test_an_unknown_direction():
    with pytest.raises(ValueError, match="'forward'"):
        lab.latent_norm(torch.zeros(1, 4, 2, 2), 0.18215, None, "forward")


def test_one_pipeline_of_diffusers_still_forgets_the_shift_on_the_way_back():
    # page.md and `decode_ignores_shift` quote this. If it fails, diffusers was mended.
    config = SimpleNamespace(scaling_factor=1.5305, shift_factor=0.0609)
    latents = normal(0, 1, 16, 4, 4)
    theirs = recipe.before_decode(recipe.SD3_INPAINT, latents, config)
    ours = lab.latent_norm(latents, 1.5305, 0.0609, "decode")
    torch.testing.assert_close(ours - theirs, torch.full_like(ours, 0.0609), atol=1e-6, rtol=0)


# latent_budget


@pytest.mark.parametrize(
    "sizes",
    [
        (48, 80, 2, (4, 4, 4), 4, 2, 1, True),
        (49, 83, 2, (4, 4, 4), 4, 2, 2, True),
        (47, 31, 1, (4, 4), 16, 4, 3, False),
        (9, 20, 3, (4,), 3, 4, 1, True),
    ],
)
def test_budget_equals_what_a_real_vae_takes(sizes):
    measured, budget = recipe.budget(*sizes), lab.latent_budget(*sizes)
    assert budget.pop("latent_shape") == tuple(measured.pop("latent_shape").tolist())
    assert budget == {key: value.item() for key, value in measured.items()}


def test_budget_by_hand():
    # Stable Diffusion at 512×512: 64×64 latents; 3·8·8/4 = 48; 2·4096²·2 bytes = 64 MiB for each head.
    assert lab.latent_budget(512, 512, 1, (128, 256, 512, 512), 4, 2, 1, True) == {
        "latent_shape": (1, 4, 64, 64),
        "compression": 48.0,
        "latent_bytes": 32768,
        "tokens": 4096,
        "attention_bytes_per_head": 64 << 20,
        "pixel_tokens_over_latent_tokens": 64.0,
    }


# image_codec


@pytest.mark.parametrize("shape", [(2, 4, 4, 3), (3, 5, 9, 3), (1, 8, 2, 3)])
def test_codec_equals_diffusers(shape):
    u8 = torch.randint(0, 256, shape, generator=seeded(0), dtype=torch.uint8)
    y = 1.4 * normal(1, shape[0], 3, *shape[1:3])
    answer, (encoded, decoded) = lab.image_codec(u8, y), recipe.codec(u8, y)
    assert torch.equal(answer["encoded"], encoded) and torch.equal(answer["decoded"], decoded)


def test_codec_by_hand():
    u8 = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 1, 1, 3)
    y = torch.tensor([-1.5, -0.6, 1.0]).reshape(1, 3, 1, 1)
    answer = lab.image_codec(u8, y)
    torch.testing.assert_close(answer["encoded"].flatten(), torch.tensor([-1.0, -0.6, 1.0]))
    assert answer["decoded"].flatten().tolist() == [0, 51, 255]


def test_every_level_survives_the_round_trip():
    u8 = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(1, 16, 16, 3)
    encoded = lab.image_codec(u8, torch.zeros(1, 3, 1, 1))["encoded"]
    assert torch.equal(lab.image_codec(u8, encoded)["decoded"], u8)


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 1), (torch.float16, 1)])
def test_diffusers_still_leaves_the_range_in_half_precision(dtype, most):
    # diffusers maps to [0, 1] before it leaves half precision: some levels are off by one. If it fails, it was mended.
    y = torch.linspace(-1, 1, 4 * 3 * 64 * 64).reshape(4, 3, 64, 64).to(dtype)
    ours, (_, theirs) = (
        lab.image_codec(torch.zeros(1, 1, 1, 3, dtype=torch.uint8), y)["decoded"],
        recipe.codec(torch.zeros(1, 1, 1, 3, dtype=torch.uint8), y),
    )
    off = (ours.int() - theirs.int()).abs()
    assert 0 < off.max() <= most
    exact = ((y.double() + 1) * 127.5).clamp(0, 255).permute(0, 2, 3, 1)
    assert (ours - exact).abs().max() <= 0.5 + 1e-4


# img2img_latents


@pytest.mark.parametrize("timestep", [0, 1, 250, 801, 999])
@pytest.mark.parametrize(("shape", "scaling"), [((2, 8, 4, 6), 0.18215), ((1, 32, 5, 7), 0.3611)])
def test_start_equals_stable_diffusion_bit_for_bit(shape, scaling, timestep):
    scheduler, moments = DDPMScheduler(beta_schedule="scaled_linear"), normal(timestep, *shape)
    ours, theirs = seeded(1), seeded(1)
    expected = recipe.sd_latents(moments, timestep, scaling, theirs, scheduler)
    assert torch.equal(lab.img2img_latents(moments, timestep, scheduler.alphas_cumprod, scaling, ours), expected)
    assert torch.equal(torch.rand((), generator=ours), torch.rand((), generator=theirs))


def test_start_by_hand():
    # ᾱ = 0.64: 0.8·(0.5·(3 + 2·ε₁)) + 0.6·ε₂, both from one generator.
    moments = torch.tensor([3.0, math.log(4)]).reshape(1, 2, 1, 1).expand(1, 2, 4, 4).contiguous()
    generator = seeded(8)
    first, second = (torch.randn(1, 1, 4, 4, generator=generator) for _ in range(2))
    found = lab.img2img_latents(moments, 1, torch.tensor([0.9, 0.64]), 0.5, seeded(8))
    torch.testing.assert_close(found, 0.8 * 0.5 * (3 + 2 * first) + 0.6 * second)


def test_diffusers_still_loses_the_first_noise_in_half_precision():
    # Not our oracle there (lab 01's page too). If it fails, diffusers was mended.
    scheduler = DDPMScheduler(beta_schedule="linear")
    moments = torch.cat([torch.zeros(1, 4, 4, 4), torch.full((1, 4, 4, 4), -30.0)], dim=1).to(torch.bfloat16)
    assert recipe.sd_latents(moments, 5, 1.0, seeded(9), scheduler).abs().max() < 1e-5
    assert lab.img2img_latents(moments, 5, scheduler.alphas_cumprod, 1.0, seeded(9)).std() > 0.02


# fit_latent_norm


def test_fit_equals_numpy_and_paper():
    batches = [3 * normal(0, 5, 4, 6, 8) + 2, normal(1, 1, 4, 10, 4) - 1, normal(2, 2, 4, 3, 3)]
    answer = lab.fit_latent_norm(batches)
    rows = [torch.cat([z[:, c].flatten() for z in batches]).double().numpy() for c in range(4)]
    assert answer["mean"].tolist() == pytest.approx([row.mean() for row in rows], abs=1e-6)
    assert answer["std"].tolist() == pytest.approx([row.std() for row in rows], rel=1e-6)
    # σ̂² = Σ(z − μ̂)²/N: the spread within the channels, and between their means.
    variance = sum(row.var() for row in rows) / 4 + torch.tensor([row.mean() for row in rows]).var(correction=0).item()
    assert answer["scaling_factor"] == pytest.approx(variance**-0.5, rel=1e-6)


def test_fit_by_hand():
    # Channel 0: 1, 3; channel 1: 5, 7. Means 2 and 6, deviations 1; all four around 4: variance 5.
    answer = lab.fit_latent_norm(
        [torch.tensor([1.0, 5.0]).reshape(1, 2, 1, 1), torch.tensor([3.0, 7.0]).reshape(1, 2, 1, 1)]
    )
    assert answer["mean"].tolist() == [2, 6] and answer["std"].tolist() == [1, 1]
    assert answer["scaling_factor"] == pytest.approx(5**-0.5)


def test_fitted_statistics_normalise():
    batches = [2 * normal(0, 3, 4, 5, 7) + 1, normal(1, 2, 4, 9, 3) - 3]
    fit = lab.fit_latent_norm(batches)
    scaled = torch.cat([lab.latent_norm(z, fit["scaling_factor"], None, "encode").flatten() for z in batches])
    assert scaled.std(correction=0).item() == pytest.approx(1, rel=1e-5)
    channels = [lab.latent_norm(z, 1.0, None, "encode", fit["mean"], fit["std"]) for z in batches]
    pooled = torch.cat([z.transpose(0, 1).flatten(1) for z in channels], dim=1)
    torch.testing.assert_close(pooled.mean(dim=1), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(pooled.std(dim=1, correction=0), torch.ones(4))
