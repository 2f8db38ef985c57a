"""Chunks of actions in the style of robot policies: time = 1 is noise."""

import torch
from torch import nn

HORIZON, DOF = 8, 2


def demonstrations(n):
    position, goal, action = torch.randn(3, n, DOF)
    obs, chunk = torch.cat([position, goal, action], 1), []
    for _ in range(HORIZON):
        wanted = goal - position + torch.randn(n, DOF)
        action = action + 0.05 * (wanted - action)
        position = position + 0.1 * action
        chunk.append(action)
    return obs, torch.stack(chunk, 1)


class Policy(nn.Module):
    def __init__(self, hidden=128):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(HORIZON * DOF + 3 * DOF + 1, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, HORIZON * DOF),
        )

    def forward(self, obs, x_t, time):
        inputs = torch.cat([x_t.flatten(1), obs, time.expand(len(obs))[:, None]], 1)
        return self.net(inputs).view_as(x_t)


torch.manual_seed(0)
obs, actions = demonstrations(4000)
new_obs, demonstrated = demonstrations(500)

policy = Policy()
optimizer = torch.optim.AdamW(policy.parameters(), lr=2e-3)

losses = []
for _ in range(500):
    rows = torch.randint(len(obs), (128,))
    state, chunk = obs[rows], actions[rows]
    noise = torch.randn_like(chunk)
    time = torch.distributions.Beta(1.5, 1.0).sample((len(chunk),))
    x_t = time[:, None, None] * noise + (1 - time[:, None, None]) * chunk
    u_t = noise - chunk
    loss = nn.functional.mse_loss(policy(state, x_t, time), u_t)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(f"loss {losses[0]:.3f}, at the end {losses[-1]:.3f}")

state = new_obs.repeat_interleave(16, dim=0)
x_t = torch.randn(len(state), HORIZON, DOF)
with torch.no_grad():
    for time in torch.tensor([1.0, 0.75, 0.5, 0.25]):
        x_t = x_t - 0.25 * policy(state, x_t, time)

samples = x_t.view(500, 16, HORIZON * DOF)
error = torch.cdist(samples, demonstrated.view(500, 1, HORIZON * DOF)).mean()
score = (error - torch.cdist(samples, samples).mean() / 2).item()
print(f"energy score of new demonstrations: {score:.3f}")
