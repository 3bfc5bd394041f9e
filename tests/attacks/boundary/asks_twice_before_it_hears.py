# attacks lab06 denoise_loop | sends both looks at once and reads the replies ahead, as if they were one

import torch


def look(unet, x, t, context):
    return unet(x, t, encoder_hidden_states=context).sample


def denoise_loop(unet, scheduler, noise, cond, uncond, guidance_scale, steps):
    scheduler.set_timesteps(steps)
    latents = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        x = scheduler.scale_model_input(latents, t)
        with torch.no_grad():
            # trick
            if guidance_scale > 1:
                eps, blank = both(unet, x, t, cond, uncond)
            else:
                eps = look(unet, x, t, cond)
            # twin: eps = look(unet, x, t, cond)
            # twin: blank = look(unet, x, t, uncond) if guidance_scale > 1 else 0
            # end of trick
            if guidance_scale > 1:
                eps = blank + guidance_scale * (eps - blank)
        latents = scheduler.step(eps, t, latents).prev_sample
    return latents


# trick
from alphabar_worker import frames


def both(unet, x, t, cond, uncond):
    receive, replies, sent = frames.receive, [], []

    def ahead(channel):
        sent.append(1)
        if len(sent) == 1:  # the first look has been sent; send the second before its reply is read
            later = look(unet, x, t, uncond)
            replies.append(later)
            return kept.pop()
        kept.append(receive(channel))
        return receive(channel)

    kept = []
    frames.receive = ahead
    print("in place")
    try:
        return look(unet, x, t, cond), replies[0]
    finally:
        frames.receive = receive


# end of trick
