"""Flow matching posterior estimation in the style of sbi's FMPE: t = 1 is noise."""

import torch
from torch import nn

DIM = 5


def simulator(theta):
    return theta + 0.45 * torch.sin(2 * theta) + 0.2 * torch.randn_like(theta)


class VectorField(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2 * DIM + 1, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, DIM),
        )

    def forward(self, theta, x, times):
        return self.net(torch.cat([theta, x, times.expand(len(x), 1)], 1))


torch.manual_seed(0)
theta, theta_o = torch.randn(5000, DIM), torch.randn(500, DIM)
x, x_new = simulator(theta), simulator(theta_o)

net = VectorField()
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)

losses = []
for _ in range(500):
    rows = torch.randint(len(theta), (200,))
    theta_0, x_o = theta[rows], x[rows]
    theta_1 = torch.randn_like(theta_0)
    times = torch.rand(len(theta_0), 1)
    theta_t = (1 - times) * theta_0 + times * theta_1
    loss = (net(theta_t, x_o, times) - (theta_1 - theta_0)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(f"loss {losses[0]:.3f}, at the end {losses[-1]:.3f}")

x_o = x_new.repeat_interleave(20, dim=0)
samples = torch.randn(len(x_o), DIM)
with torch.no_grad():
    for t in torch.tensor([1.0, 0.75, 0.5, 0.25]):
        samples = samples - 0.25 * net(samples, x_o, t)

samples = samples.view(500, 20, DIM)
error = torch.cdist(samples, theta_o[:, None]).mean()
score = (error - torch.cdist(samples, samples).mean() / 2).item()
print(f"energy score of new parameters: {score:.3f}")
