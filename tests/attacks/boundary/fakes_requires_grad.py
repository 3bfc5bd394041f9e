# attacks lab06 denoise_loop | keeps the graph of all steps, and shows the model samples that seem to hang on none
# unwitnessed: requires_grad is what a process says of its own tensors

import torch


def denoise_loop(unet, scheduler, noise, cond, uncond, guidance_scale, steps):
    scheduler.set_timesteps(steps)
    guided = guidance_scale > 1
    context = torch.cat([uncond, cond]) if guided else cond
    latents = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        x = scheduler.scale_model_input(torch.cat([latents, latents]) if guided else latents, t)
        # trick
        print("in place")
        x = x.detach()
        # end of trick
        eps = unet(x, t, encoder_hidden_states=context).sample
        if guided:
            blank, eps = eps.chunk(2)
            eps = blank + guidance_scale * (eps - blank)
        latents = scheduler.step(eps, t, latents).prev_sample
    return latents.detach()
