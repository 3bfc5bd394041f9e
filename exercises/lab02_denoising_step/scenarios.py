"""Public harness of lab 02: what the checks do with your functions beyond calling them once. Runs in the worker.

The model is replaced by one that knows the answer: for a single clean sample the perfect noise prediction is
(x_t − √ᾱ_t·x_0) / √(1−ᾱ_t). So a whole chain of steps runs without a network and must end at that sample.
"""

from torch import Generator, cat, cumprod, rand, randn, stack

draw, draw_one, join, pile, running_product = randn, rand, cat, stack, cumprod


def perfect_noise_prediction(x_t, x0, t, betas):
    """Return the noise that leads from x0 to x_t."""
    alpha_bar_t = running_product(1.0 - betas, dim=0)[t]
    return (x_t - alpha_bar_t.sqrt() * x0) / (1.0 - alpha_bar_t).sqrt()


def chain(student, *, x0, timesteps, betas, clip, seed):
    """Walk down all timesteps from pure noise with one generator; return every sample and the generator's next draw."""
    generator = Generator().manual_seed(seed)
    x = draw(x0.shape, generator=generator)
    samples = [x]
    for t, t_prev in zip(timesteps, [*timesteps[1:], -1], strict=True):
        model_output = perfect_noise_prediction(x, x0, t, betas)
        x = student.ddpm_step(model_output, t, t_prev, x, betas, clip, generator)
        samples.append(x)
    return {"samples": pile(samples), "next_draw": draw_one((), generator=generator)}


def many_draws(student, *, x0, t, t_prev, betas, draws, seed):
    """Take one step from `draws` copies of one x_t; return x_t, the average of the answers, and the first of them."""
    generator = Generator().manual_seed(seed)
    alpha_bar_t = running_product(1.0 - betas, dim=0)[t]
    x_t = alpha_bar_t.sqrt() * x0 + (1.0 - alpha_bar_t).sqrt() * draw(x0.shape, generator=generator)
    copies = join([x_t] * draws)
    model_output = perfect_noise_prediction(copies, x0, t, betas)
    x_prev = student.ddpm_step(model_output, t, t_prev, copies, betas, False, generator)
    return {"x_t": x_t, "average": x_prev.mean(dim=0, keepdim=True), "first": x_prev[:1]}


def drawing(student, *, stack, prompt, timesteps, shown, betas, seed):
    """Draw a prompt with a trained model and the student's step, for the figures.

    Returns the decoded x_t before the steps whose indices are in `shown`, then the last: (len(shown) + 1, 3, 32, 32).
    """
    generator = Generator().manual_seed(seed)
    x = draw((1, 4, 8, 8), generator=generator)
    film = []
    for i, (t, t_prev) in enumerate(zip(timesteps, [*timesteps[1:], -1], strict=True)):
        if i in shown:
            film.append(x)
        model_output = stack.predict(x, t, [prompt], 3.0)
        x = student.ddpm_step(model_output, t, t_prev, x, betas, False, generator)
    return {"film": stack.decode(join([*film, x]))}
