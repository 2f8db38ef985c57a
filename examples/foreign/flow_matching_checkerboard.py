"""Points of a checkerboard in the style of flow_matching's examples."""

import torch
from flow_matching.path import AffineProbPath
from flow_matching.path.scheduler import CondOTScheduler
from flow_matching.solver import ODESolver
from flow_matching.utils import ModelWrapper
from torch import nn


def checkerboard(n):
    column = torch.randint(4, (n,))
    row = 2 * torch.randint(2, (n,)) + column % 2
    return torch.stack([column, row], 1) - 2 + torch.rand(n, 2)


class MLP(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(3, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 2),
        )

    def forward(self, x, t):
        return self.net(torch.cat([x, t.reshape(-1, 1).expand(len(x), 1)], 1))


class Velocity(ModelWrapper):
    def forward(self, x, t, **extras):
        return self.model(x, t)


torch.manual_seed(0)
new_points = checkerboard(2000)
vf, path = MLP(), AffineProbPath(scheduler=CondOTScheduler())
optim = torch.optim.Adam(vf.parameters(), lr=2e-3)

losses = []
for _ in range(500):
    optim.zero_grad()
    x_1 = checkerboard(256)
    x_0 = torch.randn_like(x_1)
    t = torch.rand(len(x_1))
    path_sample = path.sample(t=t, x_0=x_0, x_1=x_1)
    velocity = vf(path_sample.x_t, path_sample.t)
    loss = torch.pow(velocity - path_sample.dx_t, 2).mean()
    loss.backward()
    optim.step()
    losses.append(loss.item())
print(f"loss {losses[0]:.3f}, at the end {losses[-1]:.3f}")

x_init = torch.randn(2000, 2)
solver = ODESolver(velocity_model=Velocity(vf))
sol = solver.sample(x_init=x_init, method="midpoint", step_size=0.5)


def energy_distance(a, b):
    d = torch.cdist
    return 2 * d(a, b).mean() - d(a, a).mean() - d(b, b).mean()


score = energy_distance(sol, new_points).item()
print(f"energy distance to new points: {score:.4f}")
