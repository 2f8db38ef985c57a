"""Images of a class in the style of diffusers' scripts: sigma = 1 is noise."""

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DModel
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images / 8 - 1, dtype=torch.float32)[:, None]
labels = torch.tensor(digits.target)
dataset = TensorDataset(images[::2], labels[::2])
train_dataloader = DataLoader(dataset, 32, shuffle=True, drop_last=True)

model = UNet2DModel(
    sample_size=8,
    in_channels=1,
    out_channels=1,
    layers_per_block=1,
    block_out_channels=(32, 64),
    down_block_types=("DownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "UpBlock2D"),
    num_class_embeds=10,
)
noise_scheduler = FlowMatchEulerDiscreteScheduler()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)

losses = []
for epoch in range(2):
    for clean_images, classes in train_dataloader:
        noise = torch.randn_like(clean_images)
        sigmas = torch.rand(len(clean_images))
        timesteps = sigmas * noise_scheduler.config.num_train_timesteps
        s = sigmas[:, None, None, None]
        noisy_images = (1 - s) * clean_images + s * noise
        model_pred = model(noisy_images, timesteps, class_labels=classes).sample
        loss = F.mse_loss(model_pred, noise - clean_images)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    print(f"epoch {epoch}: loss {loss.item():.3f}")

real, classes = images[1::9], labels[1::9]
noise_scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 4, 4))
sample = torch.randn_like(real)
with torch.no_grad():
    for t in noise_scheduler.timesteps:
        model_output = model(sample, t, class_labels=classes).sample
        sample = noise_scheduler.step(model_output, t, sample).prev_sample


def energy_distance(a, b):
    d = torch.cdist
    return 2 * d(a, b).mean() - d(a, a).mean() - d(b, b).mean()


a, b = sample.flatten(1), real.flatten(1)
each = [energy_distance(a[classes == c], b[classes == c]) for c in range(10)]
score = torch.stack(each).mean().item()
print(f"energy distance to held-out images of the same class: {score:.3f}")
