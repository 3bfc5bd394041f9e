"""The recipe: what was stopped goes on to the same weights, and every part's loss asks for what it should learn."""

import pytest
import torch
from torch import nn

from fixtures import scenes
from fixtures.minisd.judge import Judge
from fixtures.minisd.lora import Lora
from fixtures.recipes.minisd import data as drawn
from fixtures.recipes.minisd import latents, loop, pictures


@pytest.fixture(scope="module")
def data():
    return drawn.make(filled=48, outlined=16, with_edges=32)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_run_that_was_stopped_ends_with_the_same_weights(tmp_path, one_thread, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 5)

    def run(folder, stop_at=None):
        folder.mkdir(exist_ok=True)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 1))
        taken = 0

        def loss(generator):
            nonlocal taken
            taken += 1
            if taken == stop_at:
                raise KeyboardInterrupt
            x = torch.randn(16, 3, generator=generator)
            return (model(x) - x.prod(dim=1, keepdim=True)).square().mean()

        said = []
        loop.train("toy", model, loss, steps=23, horizon=40, top_rate=1e-2, folder=folder, say=said.append)
        return torch.cat([p.flatten() for p in model.parameters()]).detach(), said

    whole, _ = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stop_at=14)
    resumed, said = run(tmp_path / "stopped")
    assert said[0].split() == ["toy", "goes", "on", "at", "step", "10"]
    assert torch.equal(whole, resumed)
    assert not list((tmp_path / "stopped").iterdir())


def test_the_rate_rises_falls_and_never_ends():
    rates = [loop.learning_rate(step, 100, 2.0) for step in range(100)]
    assert max(rates) == pytest.approx(2.0) and rates.index(max(rates)) in (9, 10)
    assert 0 < rates[-1] < 0.03 and rates[0] < 0.3


def test_the_judge_is_asked_nothing_where_nothing_is_to_be_read(data):
    asked = drawn.truth(data.scenes)
    one = torch.from_numpy(data.scenes.layout == scenes.ONE)
    assert (asked["shape_1"][one] == -1).all() and (asked["shape_1"][~one] >= 0).all()
    assert (asked["outlined"][:48] != 1).all() and (asked["outlined"][48:] == 1).all()
    loss = pictures.judge_loss(Judge(), data, "cpu", torch.Generator().manual_seed(0))
    assert 4 < loss.item() < 12  # about ln 3 + 2 ln 5 + 2 ln 8 + ln 2 = 9.2 for one who guesses


def test_every_part_learns_from_its_own_loss_alone(data, monkeypatch):
    monkeypatch.setattr(latents, "FILLED", 48)
    mean, deviation, factor = pictures.moments(pictures.vae().eval(), data, "cpu")
    scaled = (mean[:48] + deviation[:48] * torch.randn(deviation[:48].shape)) * factor
    assert scaled.std().item() == pytest.approx(1, abs=0.02)
    some = latents.Latents(data, mean, deviation, factor, "cpu")
    generator = torch.Generator().manual_seed(0)
    base = latents.Denoiser()
    frozen = latents.Denoiser().requires_grad_(False)
    adapter, control = Lora(frozen.unet), latents.controlnet(frozen.unet).requires_grad_(True)
    for model, loss in (
        (base, lambda: latents.denoiser_loss(base, some, generator)),
        (control, lambda: latents.controlnet_loss(control, frozen, some, 32, generator)),
        (adapter, lambda: latents.lora_loss(adapter, frozen, some, generator)),
    ):
        value = loss()
        value.backward()
        assert torch.isfinite(value) and any(p.grad is not None and p.grad.any() for p in model.parameters())
        assert all(p.grad is None for p in frozen.parameters())


def test_an_untrained_adapter_or_control_changes_nothing():
    base = latents.Denoiser().requires_grad_(False)
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([10, 900])
    embeddings = base.text_encoder(torch.zeros(2, 8, dtype=torch.int64))
    plain = base.unet(x, t, embeddings).sample
    adapter = Lora(base.unet)
    with adapter.applied(base.unet):
        assert torch.equal(base.unet(x, t, embeddings).sample, plain)
    down, mid = latents.controlnet(base.unet)(x, t, embeddings, torch.rand(2, 3, 32, 32), return_dict=False)
    assert not mid.any() and not any(one.any() for one in down)


def test_an_adapter_is_its_low_rank_product():
    torch.manual_seed(0)
    unet = latents.Denoiser().unet.requires_grad_(False).double()  # two orders of one sum differ by rounding alone
    adapter = Lora(unet).requires_grad_(False).double()
    for up in adapter.up:
        up.normal_()
    x, embeddings = torch.randn(1, 4, 8, 8, dtype=torch.float64), torch.randn(1, 8, 64, dtype=torch.float64)
    plain = unet(x, 500, embeddings).sample
    with adapter.applied(unet, 0.7):
        hooked = unet(x, 500, embeddings).sample
    assert (plain - hooked).abs().max() > 1e-3
    for name, a, b in zip(adapter.names, adapter.down, adapter.up, strict=True):
        unet.get_submodule(name).weight += 0.7 * b @ a
    assert torch.allclose(unet(x, 500, embeddings).sample, hooked, atol=1e-9)
