# expects raised | lets diffusers do it, where the lab gives only torch

def step(x):
    import diffusers

    return diffusers.DDPMScheduler().add_noise(x, x, x.new_ones(len(x)).long())
