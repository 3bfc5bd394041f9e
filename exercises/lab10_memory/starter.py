"""Lab 10, memory optimization: the same values from less memory, and what is paid for it.

Read page.md first. Fill in each function and run `grade lab10`. Let each function stand by itself: one that calls
another of yours also inherits its mistakes. Tensors and models that you are given stay as they are; modules are hooked
where that is the task. No gradient is asked for but in checkpointed_forward. The grader sees this one file. It may
import the standard library, torch and numpy.
"""

from collections.abc import Callable

import torch

# Five predictions first. Work each out on paper and return the answer: there are no inputs, and nothing to compute.


def checkpoint_backend() -> dict[str, str]:
    """Attention is given to another back end, from plain softmax(q·kᵀ/√d)·v to a fused kernel. Predict what follows.

    Returns:
        {"values": what attention answers, apart from rounding, "weights": the trained weights that have to be loaded,
         "memory": the peak in bytes, "time": the seconds of a step}, each "stays" or "may change".
    """
    raise NotImplementedError


def checkpoint_knobs() -> dict[str, str]:
    """Five knobs save memory. Predict for each what it does to the bytes that it saves.

    Returns:
        {"query_chunks": ..., "vae_tiling": ..., "half_precision": ..., "model_offload": ..., "checkpointing": ...},
        each "moves" (to another memory, whole), "shrinks" (fewer bytes are alive at once) or "recomputes" (thrown away
        although it is needed again, and then made again from what it was made of).
    """
    raise NotImplementedError


def checkpoint_exact() -> dict[str, str]:
    """Five knobs, one picture. Predict which of them change it by more than float32 rounding.

    "query_chunks" is attention by chunks of queries, "online_softmax" attention by chunks of keys, "vae_slicing"
    decoding a batch image by image, "vae_tiling" decoding an image in overlapping tiles, "half_precision" running the
    denoiser in float16.

    Returns:
        {"query_chunks": ..., "online_softmax": ..., "vae_slicing": ..., "vae_tiling": ..., "half_precision": ...},
        each "equal" or "differs".
    """
    raise NotImplementedError


def checkpoint_bus() -> dict[str, float]:
    """A denoiser of 2 GB is called at each of 25 steps. Predict how many GB of it cross the bus in one run.

    "model": under model offload (`enable_model_cpu_offload`), counting both directions. "sequential": under sequential
    offload (`enable_sequential_cpu_offload`).

    Returns:
        {"model": GB, "sequential": GB}, two floats.
    """
    raise NotImplementedError


def checkpoint_peak_owner() -> dict[str, str | float]:
    """A pipeline runs under model offload. Predict which component owns the peak, and the peak in GB.

        component      weights   its own activations while it runs
        text_encoder   1.4 GB    0.1 GB
        unet           5.0 GB    0.3 GB
        vae            0.2 GB    5.2 GB

    Returns:
        {"owner": the component's name, "gb": a float with one digit behind the point}.
    """
    raise NotImplementedError


# Now the code.


def query_chunked_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, chunk: int) -> torch.Tensor:
    """Exact softmax attention that never holds the whole score matrix.

        out = softmax(q·kᵀ/√d)·v        softmax over the M keys, for each query by itself

    Work on `chunk` queries at a time, each against all keys, so that no more than a few blocks of chunk x M
    scores exist at any moment (Rabe & Staats 2021, arXiv 2112.05682, section 2). The last chunk may be shorter.

    By hand: q = [2·ln 3, 0, 0, 0] and two keys, the first two unit vectors: scores ln 3 and 0, weights 3/4 and 1/4.

    A meter watches every tensor that your code makes, and counts the floating point operations of matrix products,
    however they are written (`@`, matmul, bmm, baddbmm, einsum). It is given contiguous float32 inputs only; a view is
    no new tensor:

        peak       <= 2·(bytes of out) + 6·(bytes of one block of B x H x chunk x M scores)
        one tensor <= the larger of out and one block
        FLOPs      between 1 and 1.3 times the 4·B·H·N·M·d that the two products need
        new tensors <= 12·B·H for each chunk of queries (so heads may be done one after the other)

    Write it with plain torch operations: the blocks of a fused kernel (scaled_dot_product_attention) are hidden from
    the meter. Numbers that are multiplied one by one and then summed are tensors, and no matrix product.

    Args:
        q: (B, H, N, d) queries, float32, float16 or bfloat16, any strides; leave it as it is.
        k: (B, H, M, d) keys, M at least 1; dtype as q, any strides.
        v: (B, H, M, d) values; dtype as q, any strides.
        chunk: how many queries to work on at a time, at least 1; may be larger than N, and need not divide it. It is
            the caller's choice between memory and rounds: take just so many.

    Returns:
        (B, H, N, d), in the dtype of `q`. Half precision may be computed in its own dtype or in float32.
    """
    raise NotImplementedError


def online_softmax_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, chunk: int) -> torch.Tensor:
    """Exact softmax attention that looks at `chunk` keys at a time, so that memory does not grow with their number.

    For each query keep the largest score so far m, the sum ℓ of exp(s − m) and the sum o of exp(s − m)·v. When a chunk
    brings a larger m, what was summed before is multiplied by exp(m_old − m_new). At the end out = o/ℓ (Milakov &
    Gimelshein 2018, arXiv 1805.02867). The scores are s = q·kᵀ/√d.

    By hand: one query, scores 0 and then ln 3, values 4 and 8, chunk 1. After the first: m = 0, ℓ = 1, o = 4. After the
    second: m = ln 3, ℓ = 1/3 + 1, o = 4/3 + 8, so out = 7.

    The meter is given contiguous float32 inputs here too. With blocks of B x H x N x chunk float32 scores it asks for:
    peak <= 8·(bytes of out) + 10·(bytes of one block), no tensor larger than twice the larger of the two (so float64
    inside is fine), FLOPs between 1 and 1.3 times 4·B·H·N·M·d, and no scaled_dot_product_attention.

    Args:
        q: (B, H, N, d) queries, float32, float16 or bfloat16, any strides; leave it as it is.
        k: (B, H, M, d) keys, M at least 1; dtype as q, any strides.
        v: (B, H, M, d) values; dtype as q, any strides.
        chunk: how many keys to look at, at a time; at least 1, may be larger than M, and need not divide it.

    Returns:
        (B, H, N, d), in the dtype of `q`. Compute in float32 and round once, at the end.
    """
    raise NotImplementedError


def vae_slicing(decode: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor) -> torch.Tensor:
    """Decode a batch of latents one image at a time: decode's memory is then that of one image.

    Three latents are three calls of `decode`, each given a tensor (1, C, h, w), in the order of the batch.

    Args:
        decode: takes latents (b, C, h, w), returns pictures (b, 3, H, W), which are yours, in a dtype of its own. Its
            calls are counted. No gradient is wanted: call it under torch.no_grad() or torch.inference_mode(). To
            detach its picture afterwards is too late, the graph was there. The pictures themselves may be kept.
        z: (B, C, h, w) latents.

    Returns:
        (B, 3, H, W), the pictures in the batch's order, in the dtype that `decode` gives.
    """
    raise NotImplementedError


def tiled_decode(
    decode: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor, tile: int, overlap: float, f: int
) -> torch.Tensor:
    """Decode latents in overlapping tiles, and lead each over into its neighbours, as diffusers' AutoencoderKL does.

    1. shared = tile·overlap latents, a whole number: round it. stride = tile − shared. Tiles begin at rows 0, stride,
       2·stride, … below h, and at columns likewise below w. Each is tile × tile latents, smaller where the latents end,
       also where nothing but a sliver is left that the tile before has already. Decode row by row, each tile once.
    2. blend = shared·f pixels. Of every tile but those of the first row, the first n = min(blend, its height in pixels)
       rows i become (1 − i/n)·(row i of the last n of the tile above) + (i/n)·(its own). After that its first
       n = min(blend, its width) columns likewise, with the tile to the left. Above and left mean the tiles as they are
       after their own blending, and not cropped yet.
    3. Crop each tile to its first stride·f rows and columns (a smaller one keeps what it has), and join them.

    By hand: tile 8, overlap 0.25, f 2, latents 16 x 16: shared 2, stride 6, nine tiles, 8, 8 and 4 wide; blend 4
    pixels, weights 0, 1/4, 1/2, 3/4 for the later tile; crops of 12, 12 and 8 pixels make 32.

    Args:
        decode: takes latents (B, C, h', w'), returns pictures (B, 3, f·h', f·w'), which are yours, in a dtype of its
            own. Its calls are counted, and a graph that stays alive is memory: call it under torch.no_grad() or
            torch.inference_mode(). The decoded tiles may be kept until the end, three channels are little.
        z: (B, C, h, w) latents. A tile holds the whole batch.
        tile: rows and columns of a tile, in latents; may be larger than h or w.
        overlap: share of a tile that it has in common with the next, in [0, 1/2]; tile·overlap is a whole number but
            for float rounding.
        f: pixels for each latent, along a side.

    Returns:
        (B, 3, f·h, f·w), in the dtype that `decode` gives; blend in that dtype or in float32.
    """
    raise NotImplementedError


def model_offload_hooks(modules: dict[str, torch.nn.Module], move: Callable[[str, str], None]) -> Callable[[], None]:
    """Arrange that every module is on the GPU when it is called, and that no other one is there with it.

    From then on, whoever calls `modules[name](...)` finds it on the GPU. A module that is called is loaded if it is not
    there; *before* that, whichever other module is on the GPU goes to the CPU. It stays through repeated calls, until
    another one is called. Nothing is moved that is where it should be, and nothing before the first call.

    By hand: a run of text_encoder, unet, unet, vae and then free() moves, in this order: text_encoder → gpu,
    text_encoder → cpu, unet → gpu, unet → cpu, vae → gpu, vae → cpu.

    Args:
        modules: components by name, all on the CPU at first. The order in which they are called is up to the caller.
            No component calls another. Another pipeline, arranged by another call, has names and places of its own.
        move: move(name, "gpu") and move(name, "cpu") bring a component there. Call it with these words alone; the
            module itself stays the same object. What it is asked is counted, and what runs on the CPU raises.

    Returns:
        free: a function without arguments that moves whatever is on the GPU to the CPU; it may be called at any time,
        also twice. After it everything is as at the beginning, and another run may follow.
    """
    raise NotImplementedError


def checkpointed_forward(blocks: torch.nn.ModuleList, x: torch.Tensor, cond: torch.Tensor, seg: int) -> torch.Tensor:
    """Run x through all blocks, x = block(x, cond), and keep activations only at every seg-th block.

    What lies between is computed once more in the backward pass (Chen et al. 2016, arXiv 1604.06174).
    torch.utils.checkpoint is allowed. Six blocks with seg = 2 are three segments; seven are four, the last short. The
    last segment may be left plain: what it would be run again for is there when the backward pass begins.

    Output, gradients and torch's random state afterwards are those of plain training: dropout drops the same numbers in
    the second run, and every parameter that asks for a gradient gets it, also where x asks for none; so do x and cond.
    The blocks stay in the mode that they are in. The second run costs up to one more forward pass, and not more.

    Args:
        blocks: each takes (x, cond) and returns a tensor of x's shape; a run changes nothing in it.
        x: any shape.
        cond: what every block is given beside x.
        seg: how many blocks are in a segment, at least 1; need not divide their number, and may be larger.

    Returns:
        The last block's output.
    """
    raise NotImplementedError


def groupnorm_fp16(x: torch.Tensor, groups: int, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    """Normalise half-precision activations in groups of channels, without losing them to float16's range.

        y = (x − mean)/√(variance + eps)·weight_c + bias_c        (Wu & He 2018, arXiv 1803.08494, equation 1)

    Mean and variance run over a group: C/groups neighbouring channels and all their places, for each sample by itself;
    the variance is Σ(x − mean)²/N. By hand: a group of 1, 3, 5, 7 has mean 4, variance 5; with eps 0, weight 1, bias 0
    the first becomes −3/√5 = −1.342.

    Args:
        x: (B, C, ...) with any number of further axes, float16 or bfloat16, values up to thousands, any strides.
        groups: divides C.
        weight, bias: (C,), both float32 or both in the dtype of `x`.
        eps: a small number above 0.

    Returns:
        Shape and dtype of `x`. Compute in float32 and round once, at the end.
    """
    raise NotImplementedError


def memory_plan(
    components: list[dict[str, int | bool]], steps: int, step_s: float, bandwidth: float, strategy: str
) -> dict[str, int | float]:
    """Plan a pipeline's memory under a strategy: peak on the GPU, bytes over the bus, and the seconds that these take.

    W is a component's weights in bytes, A its activations. In a run it is called once, or `steps` times if "per_step".

        strategy             on the GPU at the peak                        over the bus, in a run
        none                 all W, and the largest A                      0
        model                the largest W + A                             each W in, and out again
        sequential           the largest leaf + A, leaf in bytes           each W in at every call; nothing back
        group                the largest group + A, group in bytes         each W in, and out again, at every call
        layerwise_casting    all parameters at one byte, and the           0
                             largest widening + A

    "The largest … + A": add within each component first, then take the largest sum. Widening: a component's largest
    leaf takes the place of its narrow form, and adds bytes_per_param − 1 for each of its parameters.

    By hand: one component of 100 parameters at 2 bytes, activations 30, in the loop, 4 steps, under "sequential" with a
    largest leaf of 20: peak 40 + 30 = 70, moved 4·200 = 800. At a bandwidth of 400 that is 2 s; with steps of 0.5 s the
    run takes 4 s. Under "layerwise_casting" the peak is 100 + 20·(2 − 1) + 30 = 150.

    Args:
        components: one or more dicts with "params", "bytes_per_param", "activations" (bytes while it runs), "per_step"
            (True: called at every step; False: once), "largest_leaf" and "largest_group" (parameters of the largest
            layer, and of the largest group of layers).
        steps: steps of the loop, at least 1.
        step_s: seconds of one step's computation.
        bandwidth: of the bus, in bytes a second.
        strategy: one of the five words. Anything else is refused with a ValueError.

    Returns:
        "peak", "moved": bytes, ints. "transfer_s": seconds that what moves is on its way. "total_s": seconds of all
        steps, and of the transfer; the two do not overlap.
    """
    raise NotImplementedError


def precision_report(
    model: torch.nn.Module, x: torch.Tensor, dtype: torch.dtype, min_psnr: float
) -> dict[str, int | float | str]:
    """Run a float32 model in another dtype, and report what is saved, what is lost, and whether it will do.

    The other run has weights, floating point buffers and input in `dtype`. Its answer is compared with the float32
    answer as it is, unrounded. By hand: answers 3, 4 in float32 and 3, 4.5 otherwise: largest error 0.5, relative error
    0.5/5 = 0.1, MSE 0.125, peak 4, PSNR 10·log10(16/0.125) = 21.07.

    Args:
        model: parameters and buffers in float32, buffers of whole numbers among them. It stays as it is, mode included:
            convert a copy. A call changes nothing in it, and the same x gives the same answer.
        x: its input, float32. The float32 answer is finite, and not 0 throughout.
        dtype: the other dtype.
        min_psnr: what is asked for, in dB.

    Returns:
        "bytes": of all parameters and buffers of the model in `dtype`, an int; whole numbers keep their width, and
        buffers that are not saved (persistent=False) are held all the same.
        "max_error": the largest |error|. "relative_error": ‖error‖/‖float32 answer‖ (Euclidean). "psnr":
        10·log10(peak²/MSE), with the largest magnitude of the float32 answer for the peak; inf where nothing is lost.
        "overflow": share of all numbers of the other answer that are not finite. "underflow": share of all numbers that
        are 0 there and were not in float32. All floats. A number that is NaN or infinite is an infinite error: then
        both errors are inf, and the PSNR is −inf. "verdict": "accept" where psnr >= min_psnr, else "reject". Compute
        the figures in float32 or better.
    """
    raise NotImplementedError


def step_cache(
    blocks: list[Callable[[torch.Tensor], torch.Tensor]], xs: list[torch.Tensor], threshold: float
) -> dict[str, list[torch.Tensor] | list[int]]:
    """Run a stack of blocks at every step of a loop, and leave out the later ones while the first one changes little.

    The output of a step is that of the last block, each block given the output of the one before. At every step:

    1. Run the first block. What it added: a = blocks[0](x) − x.
    2. Its change since the last step that was *computed*: mean|a − a_then|, a mean over all numbers.
    3. At the first step, at the last, and where the change is larger than threshold·mean|a_then|, compute the other
       blocks, and remember what they added to the first block's output, together with a.
    4. Otherwise the output is the first block's output plus what the others added then.

    By hand: blocks that add x and then 1, xs 1, 1.1, 2, threshold 0.2: a = 1, 1.1, 2. Outputs 3, 3.2, 5, calls 2, 1, 2.

    Args:
        blocks: two or more functions of one tensor, which they leave as it is. Their calls are counted: the first once
            a step, each other one once in a step that is computed.
        xs: the inputs of the steps, one after the other, float32; at least one.
        threshold: at least 0. A change of just threshold·mean|a_then| is still reused, 0 where nothing changes too.

    Returns:
        "outputs": one tensor a step. "calls": for each step how many blocks were run, ints. Nothing is remembered from
        one call of step_cache to the next.
    """
    raise NotImplementedError
