"""Images of a class in the style of torchcfm's examples: digits of 8 x 8 pixels."""

import torch
import torchdiffeq
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset
from torchcfm.conditional_flow_matching import ConditionalFlowMatcher
from torchcfm.models.unet import UNetModel

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images / 8 - 1, dtype=torch.float32)[:, None]
labels = torch.tensor(digits.target)
train_set = TensorDataset(images[::2], labels[::2])
train_loader = DataLoader(train_set, batch_size=32, shuffle=True, drop_last=True)

model = UNetModel(
    dim=(1, 8, 8),
    num_channels=32,
    num_res_blocks=1,
    channel_mult=(1, 2),
    num_classes=10,
    class_cond=True,
)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
FM = ConditionalFlowMatcher(sigma=0.0)

losses = []
for epoch in range(2):
    for x1, y in train_loader:
        optimizer.zero_grad()
        x0 = torch.randn_like(x1)
        t, xt, ut = FM.sample_location_and_conditional_flow(x0, x1)
        vt = model(t, xt, y)
        loss = torch.mean((vt - ut) ** 2)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"epoch {epoch}: loss {loss.item():.3f}")

real, y = images[1::9], labels[1::9]
with torch.no_grad():
    traj = torchdiffeq.odeint(
        lambda t, x: model(t, x, y),
        torch.randn_like(real),
        torch.linspace(0, 1, 5),
        method="euler",
    )


def energy_distance(a, b):
    d = torch.cdist
    return 2 * d(a, b).mean() - d(a, a).mean() - d(b, b).mean()


a, b = traj[-1].flatten(1), real.flatten(1)
score = sum(energy_distance(a[y == c], b[y == c]) for c in range(10)).item() / 10
print(f"energy distance to held-out images of the same class: {score:.3f}")
