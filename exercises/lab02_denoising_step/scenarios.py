"""Public harness of lab 02: what the checks do with your functions beyond calling them once. Runs in the worker.

The model is replaced by one that knows the answer. For a single clean sample the perfect noise prediction is
(x_t − √ᾱ_t·x_0) / √(1−ᾱ_t), so a whole chain of steps runs without a network and must end at that sample. For a few
clean samples, the modes, the best prediction is their weighted mean: a chain has to decide for one of them.
"""

from torch import Generator, cat, cumprod, einsum, rand, randn, softmax, stack

draw, draw_one, join, pile, running_product, weighted = randn, rand, cat, stack, cumprod, einsum
shares = softmax


def perfect_noise_prediction(x_t, x0, alpha_bar_t):
    """Return the noise that leads from x0 to x_t."""
    return (x_t - alpha_bar_t.sqrt() * x0) / (1.0 - alpha_bar_t).sqrt()


def three_models(student, *, x0, noise, t, betas):
    """Return x_0 and noise from the answers of three models, each perfect in its own way, by prediction type."""
    alpha_bar_t = running_product(1.0 - betas, dim=0)[t].reshape(-1, *[1] * (x0.ndim - 1))
    of_x0, of_noise = alpha_bar_t.sqrt(), (1.0 - alpha_bar_t).sqrt()
    x_t = of_x0 * x0 + of_noise * noise
    answers = {"epsilon": noise, "sample": x0, "v_prediction": of_x0 * noise - of_noise * x0}
    return {name: student.split_prediction(name, answer, x_t, t, betas) for name, answer in answers.items()}


def posterior(student, *, x0, x_t, t, t_prev, betas):
    """Return mean, variance and logarithm of one step, for the checks that look at one of them."""
    return student.ddpm_posterior(x0, x_t, t, t_prev, betas)


def chain(student, *, x0, timesteps, betas, clip, seed):
    """Walk down all timesteps from pure noise with one generator; return every sample and the generator's next draw."""
    generator = Generator().manual_seed(seed)
    alpha_bar = running_product(1.0 - betas, dim=0)
    x = draw(x0.shape, generator=generator)
    samples = [x]
    for t, t_prev in zip(timesteps, [*timesteps[1:], -1], strict=True):
        model_output = perfect_noise_prediction(x, x0, alpha_bar[t])
        x = student.ddpm_step(model_output, t, t_prev, x, betas, clip, generator)
        samples.append(x)
    return {"samples": pile(samples), "next_draw": draw_one((), generator=generator)}


def perfect_ends(student, *, x0, noise, steps, alphas_cumprod):
    """Take each (t, t_prev) of `steps` with a perfect prediction; return where they end."""
    ends = []
    for t, t_prev in steps:
        x_t = alphas_cumprod[t].sqrt() * x0 + (1.0 - alphas_cumprod[t]).sqrt() * noise
        answer = student.ddim_step(noise, t, t_prev, x_t, alphas_cumprod, 0.0, 1.0, False, Generator())
        ends.append(answer["prev"])
    return {"ends": pile(ends)}


def brighter(student, *, x0, by, ratio, max_value):
    """Threshold a batch whose samples and channels are multiplied by numbers of their own."""
    return student.dynamic_threshold(x0 * by, ratio, max_value)


class ModesDenoiser:
    """The best noise prediction where the data are a few samples, all as likely: a softmax over their distances."""

    def __init__(self, modes, alphas_cumprod):
        """Take the modes, (K, ...), and ᾱ, (T,)."""
        self.modes, self.levels = modes, alphas_cumprod

    def __call__(self, x_t, t):
        """Return E[ε | x_t], shape of `x_t` (B, ...)."""
        alpha_bar_t = self.levels[int(t)]
        distances = (x_t.flatten(1)[:, None] - alpha_bar_t.sqrt() * self.modes.flatten(1)).square().sum(dim=2)
        weights = shares(-distances / (2.0 * (1.0 - alpha_bar_t)), dim=1)
        return perfect_noise_prediction(x_t, weighted("bk,k...->b...", weights, self.modes), alpha_bar_t)


def denoiser(modes, alphas_cumprod):
    """Build the best denoiser for these modes; the grader counts its calls."""
    return ModesDenoiser(modes, alphas_cumprod)


def run(student, *, model, x_T, timesteps, alphas_cumprod):
    """Return the samples and estimates of a whole run."""
    return student.ddim_sample(model, x_T, timesteps, alphas_cumprod)


def many_draws(student, *, x0, t, t_prev, betas, draws, seed):
    """Take one step from `draws` copies of one x_t; return x_t, the average of the answers, and the first of them."""
    generator = Generator().manual_seed(seed)
    alpha_bar_t = running_product(1.0 - betas, dim=0)[t]
    x_t = alpha_bar_t.sqrt() * x0 + (1.0 - alpha_bar_t).sqrt() * draw(x0.shape, generator=generator)
    copies = join([x_t] * draws)
    model_output = perfect_noise_prediction(copies, x0, alpha_bar_t)
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


def from_one_start(student, *, stack, prompt, timesteps, alphas_cumprod, start, chances):
    """Run DDIM with a trained model from `start` once for each (η, seed); return the decoded ends, for the figures."""
    ends = []
    for eta, seed in chances:
        generator, x = Generator().manual_seed(seed), start
        for t, t_prev in zip(timesteps, [*timesteps[1:], -1], strict=True):
            model_output = stack.predict(x, t, [prompt], 3.0)
            x = student.ddim_step(model_output, t, t_prev, x, alphas_cumprod, eta, 1.0, False, generator)["prev"]
        ends.append(x)
    return {"pictures": stack.decode(join(ends))}


def estimates(student, *, stack, prompt, timesteps, shown, alphas_cumprod, start):
    """Run DDIM with a trained model; return the decoded estimates of the steps in `shown`, and the end."""
    run = student.ddim_sample(lambda x, t: stack.predict(x, t, [prompt], 3.0), start, timesteps, alphas_cumprod)
    return {"film": stack.decode(join([run["x0"][i] for i in shown] + [run["x"][-1]]))}
