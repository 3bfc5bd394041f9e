"""Public harness of lab 07: what the checks do with your functions beyond calling them once. Runs in the worker.

The networks are small and made here from seeds. A layer's weights are drawn anew for whatever number of channels it is
given, so that a wrong turn shows as wrong numbers and not only as an error.
"""

from torch import Generator, Tensor, as_tensor, autograd, cat, einsum, randn, sin, softmax, tanh
from torch.nn.functional import conv2d, gelu, interpolate, silu

grad, draw, join, product, shares, squeeze, wave = autograd.grad, randn, cat, einsum, softmax, tanh, sin
convolve, smooth, resize, swish, number = conv2d, gelu, interpolate, silu, as_tensor


def answer(student, *, function, **given):
    """Call one function; for checks that look at a part of what it returns."""
    return getattr(student, function)(**given)


def two_devices(student, *, function, tensors, **given):
    """Return the answer here, and on the meta device, which has shapes and dtypes like any other and computes nothing.

    Numbers stay where they are; `tensors` are moved.
    """
    here = getattr(student, function)(**tensors, **given)
    moved = {name: value.to("meta") for name, value in tensors.items()}
    return {"here": here, "elsewhere": getattr(student, function)(**moved, **given)}


def gradients(student, *, function, leaves, **given):
    """Return how fast the sum of the squared answer grows with each of `leaves`; None where no gradient arrives."""
    moved = {name: value.clone().requires_grad_() for name, value in leaves.items()}
    value = getattr(student, function)(**moved, **given)
    parts = list(value.values()) if isinstance(value, dict) else [value]
    if not all(isinstance(part, Tensor) and part.requires_grad for part in parts):
        return None
    found = grad(sum((part**2).sum() for part in parts), list(moved.values()), allow_unused=True)
    return dict(zip(moved, found, strict=True))


def weight(seed, out, channels, *kernel):
    """Return the weight (out, channels, *kernel) of a layer."""
    fan_in = channels
    for side in kernel:
        fan_in *= side
    return draw(out, channels, *kernel, generator=Generator().manual_seed(seed % 2**32)) * (0.7 / fan_in**0.5)


class Attention:
    """One head of self-attention over the tokens (B, N, C)."""

    def __init__(self, seed):
        """Take the seed of the weights."""
        self.seed = seed

    def __call__(self, y):
        """Return what each token reads."""
        q, k, v = (y @ weight(self.seed + i, y.shape[2], y.shape[2]).T for i in range(3))
        return shares(2.0 * q @ k.transpose(1, 2), dim=2) @ v + 0.1


class Mlp:
    """Two linear layers on each token (B, N, C)."""

    def __init__(self, seed):
        """Take the seed of the weights."""
        self.seed = seed

    def __call__(self, y):
        """Return the second layer's output."""
        hidden = smooth(y @ weight(self.seed, 2 * y.shape[2], y.shape[2]).T + 0.2)
        return hidden @ weight(self.seed + 1, y.shape[2], 2 * y.shape[2]).T - 0.1


def dit_block(student, *, x, c, w, seed):
    """Return what the block makes of the tokens with an attention and an MLP of its own."""
    return student.adaln_zero_block(x, c, w, Attention(seed), Mlp(seed + 10))


def dit_block_gradients(student, *, seed, leaves):
    """Return the gradients of a tenth of the block's answer in x, c and the modulation's weight and bias.

    Terms that nearly cancel leave their own roundings, which in a tenth stay below what small numbers may miss.
    """

    class Block:
        @staticmethod
        def block(x, c, weight, bias):
            return 0.1 * student.adaln_zero_block(x, c, {"w": weight, "b": bias}, Attention(seed), Mlp(seed + 10))

    return gradients(Block, function="block", leaves=leaves)


class Layer:
    """A layer of a small UNet: a convolution, with the time added where there is one."""

    def __init__(self, seed, out, stride=1):
        """Take the weights' seed, the number of channels that come out, and the stride."""
        self.seed, self.out, self.stride = seed, out, stride

    def __call__(self, h, temb=None):
        """Return the feature maps (B, out, ...)."""
        h = convolve(h, weight(self.seed, self.out, h.shape[1], 3, 3), stride=self.stride, padding=1)
        if temb is not None:
            h = h + (temb @ weight(self.seed + 500, self.out, temb.shape[1]).T)[:, :, None, None]
        return swish(2.0 * h) + 0.1 * h


class Upsampler(Layer):
    """A convolution of feature maps that were brought to a size."""

    def __call__(self, h, size):
        """Return the feature maps (B, out, *size)."""
        height, width = (int(side) for side in size)
        return super().__call__(resize(h, size=(height, width), mode="nearest"))


def make_blocks(seed, widths, layers, sampling):
    """Return the blocks of a UNet: `widths` of its levels, `layers` ResNets on each, with or without other sizes."""
    seeds = iter(range(seed, seed + 400))
    down = []
    for place, width in enumerate(widths):
        resnets = [Layer(next(seeds), width) for _ in range(layers)]
        last = place == len(widths) - 1
        # Without other sizes the samplers keep the size, so that nothing but its numbers tells a skip from another.
        down.append(
            {"resnets": resnets, "downsampler": None if last else Layer(next(seeds), width, 2 if sampling else 1)}
        )
    up = []
    for place, width in enumerate(reversed(widths)):
        resnets = [Layer(next(seeds), width) for _ in range(layers + 1)]
        last = place == len(widths) - 1
        up.append({"resnets": resnets, "upsampler": None if last else Upsampler(next(seeds), width)})
    ends = {
        "conv_in": Layer(next(seeds), widths[0]),
        "mid": Layer(next(seeds), widths[-1]),
        "conv_out": Layer(next(seeds), 3),
    }
    return {**ends, "down": down, "up": up}


def walk(student, *, sample, temb, seed, widths, layers, sampling=True):
    """Lead a sample through a small UNet."""
    return student.unet_forward(sample, temb, make_blocks(seed, widths, layers, sampling))


def walks_in_turn(student, *, samples, temb, seed, widths, layers):
    """Lead several samples through one small UNet, one after the other."""
    blocks = make_blocks(seed, widths, layers, sampling=True)
    return [student.unet_forward(sample, temb, blocks) for sample in samples]


def walk_gradients(student, *, seed, widths, layers, leaves):
    """Return the gradients in the sample and in the time embedding."""
    blocks = make_blocks(seed, widths, layers, sampling=True)
    return gradients(student, function="unet_forward", leaves=leaves, blocks=blocks)


class Encoder:
    """A text encoder: a vector for each token, which knows its neighbours."""

    def __init__(self, seed):
        """Take the weights' seed."""
        self.table = weight(seed, 16, 6) * 4.0

    def __call__(self, tokens):
        """Return the context (B, L, 6)."""
        rows = self.table[tokens]
        return rows + 0.5 * rows.roll(1, dims=1)


class Backbone:
    """A small denoiser: a convolution, the time, and one look at the context; `times` the channels come out."""

    def __init__(self, seed, times):
        """Take the weights' seed and how many times the latents' channels come out."""
        self.seed, self.times = seed, times

    def __call__(self, x, t, context):
        """Return a prediction (B, times·C, H, W) for latents x (B, C, H, W), timesteps t (B,) and the context."""
        out = self.times * x.shape[1]
        h = convolve(x, weight(self.seed, out, x.shape[1], 3, 3), padding=1)
        phase = number(t).float().reshape(-1, 1) / 300.0 + weight(self.seed + 1, out, 1)[:, 0]
        query = h.flatten(2).transpose(1, 2) @ weight(self.seed + 2, context.shape[2], out).T
        read = shares(4.0 * query @ context.transpose(1, 2), dim=2) @ context
        read = (read @ weight(self.seed + 3, out, context.shape[2]).T).transpose(1, 2).reshape(h.shape)
        return squeeze(h + wave(phase)[:, :, None, None] + read) + 0.1 * h


def make_encoder(seed):
    """Build the text encoder; the grader counts its calls."""
    return Encoder(seed)


def make_unet(seed):
    """Build the backbone that predicts as many channels as it is given; the grader counts its calls."""
    return Backbone(seed, 1)


def make_dit(seed):
    """Build the backbone that predicts twice as many; the grader counts its calls."""
    return Backbone(seed, 2)


class TwoStep:
    """A scheduler with a memory: it steps along the last prediction, corrected by the one before it."""

    def __init__(self):
        """Begin without a memory."""
        self.last = None

    def step(self, prediction, t, x):
        """Return the next latents; the step's length hangs on t."""
        length = 0.1 + 0.2 * float(t) / 1000.0
        slope = prediction if self.last is None else 1.5 * prediction - 0.5 * self.last
        self.last = prediction
        return x - length * slope


def drive(student, *, encoder, unet, dit, sample, timesteps, tokens):
    """Drive both backbones; the answer is where they end."""
    return student.two_backbones(sample, timesteps, tokens, encoder, unet, dit, TwoStep)


def drive_gradients(student, *, leaves, seed, timesteps, tokens):
    """Return the gradients of both ends in the noise."""
    parts = {"encoder": make_encoder(seed), "unet": make_unet(seed + 10), "dit": make_dit(seed + 20)}
    given = {"timesteps": timesteps, "tokens": tokens, "make_scheduler": TwoStep}
    return gradients(student, function="two_backbones", leaves=leaves, **parts, **given)


# For the figures, with the trained stack: one of its parts is replaced by the student's function, and it draws.


def replaced(modules, forward):
    """Return modules with their `forward` replaced by `forward(module)`, until they are `restored`."""
    for module in modules:
        module.forward = forward(module)
    return modules


def restored(modules):
    """Give modules their own `forward` back."""
    for module in modules:
        del module.forward


def pictures(stack, prompts, noise, steps=12):
    """Return what the stack draws of each prompt, from noise of its own."""
    return stack.decode(stack.sample(prompts, noise, 3.0, steps))


def of_class(unet, name):
    """Return the modules of a UNet whose class has this name."""
    return [module for module in unet.modules() if type(module).__name__ == name]


def drawn_with_time(student, *, stack, prompts, noise):
    """Draw with the student's embedding of time."""

    def forward(module):
        width, flip, shift = module.num_channels, module.flip_sin_to_cos, module.downscale_freq_shift
        return lambda timesteps: student.timestep_embedding(timesteps, width, flip, shift)

    modules = replaced([stack.unet.time_proj], forward)
    try:
        return pictures(stack, prompts, noise)
    finally:
        restored(modules)


def drawn_with_attention(student, *, stack, prompts, noise):
    """Draw with the student's cross-attention."""

    def forward(module):
        out = module.to_out[0]
        w = {"q": module.to_q.weight, "k": module.to_k.weight, "v": module.to_v.weight, "o": out.weight, "ob": out.bias}
        return lambda x, encoder_hidden_states=None, **_: student.cross_attention(
            x, encoder_hidden_states, w, module.heads
        )

    blocks = of_class(stack.unet, "BasicTransformerBlock")
    modules = replaced([block.attn2 for block in blocks], forward)
    try:
        return pictures(stack, prompts, noise)
    finally:
        restored(modules)


def drawn_with_resnets(student, *, stack, prompts, noise):
    """Draw with the student's ResNet block."""

    def forward(module):
        modulated, norm = module.time_embedding_norm == "scale_shift", module.norm1
        weights = dict(module.state_dict())
        settings = (norm.num_groups, norm.eps, float(module.output_scale_factor))
        return lambda x, temb: student.resnet_block(x, temb, weights, modulated, *settings)

    modules = replaced(of_class(stack.unet, "ResnetBlock2D"), forward)
    try:
        return pictures(stack, prompts, noise)
    finally:
        restored(modules)


class Answer:
    """What a model of diffusers returns."""

    def __init__(self, sample):
        """Keep the prediction."""
        self.sample = sample


def drawn_with_walk(student, *, stack, prompts, noise):
    """Draw with the student's way through the UNet; a ResNet and the attention behind it are one layer of it."""

    def layers(block, tokens):
        def layer(resnet, attention):
            def call(h, temb):
                h = resnet(h, temb)
                return h if attention is None else attention(h, encoder_hidden_states=tokens).sample

            return call

        attentions = getattr(block, "attentions", [None] * len(block.resnets))
        return [layer(resnet, attention) for resnet, attention in zip(block.resnets, attentions, strict=True)]

    def sampler(block, name):
        found = getattr(block, name, None)
        return None if found is None else found[0]

    def forward(unet):
        def call(x, t, tokens):
            temb = unet.time_embedding(unet.time_proj(number(t).reshape(-1).expand(x.shape[0])))
            blocks = {
                "conv_in": unet.conv_in,
                "down": [
                    {"resnets": layers(block, tokens), "downsampler": sampler(block, "downsamplers")}
                    for block in unet.down_blocks
                ],
                "mid": lambda h, temb: unet.mid_block(h, temb, encoder_hidden_states=tokens),
                "up": [
                    {"resnets": layers(block, tokens), "upsampler": sampler(block, "upsamplers")}
                    for block in unet.up_blocks
                ],
                "conv_out": lambda h: unet.conv_out(unet.conv_act(unet.conv_norm_out(h))),
            }
            return Answer(student.unet_forward(x, temb, blocks))

        return call

    modules = replaced([stack.unet], forward)
    try:
        return pictures(stack, prompts, noise)
    finally:
        restored(modules)


class TwoStepDDIM:
    """DDIM along a mix of the last two predictions (Liu et al. 2022, equation 12 at second order)."""

    def __init__(self, scheduler, steps):
        """Take one of diffusers' DDIM schedulers."""
        self.scheduler, self.last = scheduler, None
        self.scheduler.set_timesteps(num_inference_steps=steps)

    def step(self, prediction, t, x):
        """Return the next latents."""
        slope = prediction if self.last is None else 1.5 * prediction - 0.5 * self.last
        self.last = prediction
        return self.scheduler.step(slope, t, x).prev_sample


def drawn_by_both(student, *, stack, config, weights, prompts, labels, noise, guidance_scale, steps):
    """Draw prompts with the trained UNet and with the trained DiT, which knows each as a class: one loop drives both.

    Guidance is the backbones' own affair here. The small DiT learned no variances: zeros stand in their place.
    """
    from diffusers import DiTTransformer2DModel

    model = DiTTransformer2DModel.from_config(config)
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    model.eval().requires_grad_(False)
    known, nothing = stack.embed(prompts), stack.embed([""])

    def guided(predict, x, t, condition, without):
        rows = number(t).reshape(-1).expand(len(x))
        both = predict(join([x, x]), join([rows, rows]), join([condition, without]))
        with_prompt, free = both.split([len(x), len(x)])
        return free + guidance_scale * (with_prompt - free)

    def unet(x, t, context):
        def predict(x, t, context):
            return stack.unet(x, t, context).sample

        return guided(predict, x, t, context, nothing.expand_as(context))

    def dit(x, t, context):
        def predict(x, t, classes):
            return model(x, timestep=t, class_labels=classes).sample

        # The class whose prompt's encoding this is.
        far = (context.flatten(1)[:, None] - known.flatten(1)[None]).square().sum(2)
        classes = labels[far.argmin(1)]
        eps = guided(predict, x, t, classes, classes * 0 + config["num_embeds_ada_norm"])
        return join([eps, eps * 0], dim=1)

    def encoder(tokens):
        return known[tokens[:, 0]]

    def make_scheduler():
        return TwoStepDDIM(stack.scheduler(), steps)

    timesteps = make_scheduler().scheduler.timesteps
    numbers = labels.new_tensor(range(len(prompts)))[:, None]
    ends = student.two_backbones(noise, timesteps, numbers, encoder, unet, dit, make_scheduler)
    return {name: stack.decode(ends[name]) for name in ("unet", "dit")}


def shifted_scores(student, *, q, k, ids, axes_dim, by):
    """Return a tenth of the scores of rotated queries and keys, with ids as they are and moved by `by`: (2, N, N)."""
    rows = []
    for moved in (ids, ids + by):
        turned = [student.rope_axial(y, moved, axes_dim) for y in (q, k)]
        rows.append(product("bhnd,bhmd->nm", *turned))
    return join([row[None] for row in rows]) / 10.0


def gates(student, *, x, c, w, opening, seed):
    """Return how far a block moves its tokens while its modulation opens: one number for each of `opening`."""
    moved = []
    for share in opening:
        given = {name: value * share for name, value in w.items()}
        y = student.adaln_zero_block(x, c, given, Attention(seed), Mlp(seed + 10))
        moved.append((y - x).square().mean().sqrt().item())
    return moved
