"""Policy gradient and Q learning on a toy environment."""

import random
from collections import deque, namedtuple

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

random.seed(0)
np.random.seed(0)
torch.manual_seed(0)
Transition = namedtuple("Transition", ("state", "action", "next_state", "reward"))


class Corridor:
    """Walk right along eight cells to the goal."""

    def reset(self):
        self.x, self.t = 3, 0
        return self.observe()

    def observe(self):
        return np.eye(8, dtype=np.float32)[self.x]

    def step(self, action):
        self.x = int(np.clip(self.x + (1 if action == 1 else -1), 0, 7))
        self.t += 1
        return self.observe(), (1.0 if self.x == 7 else -0.1), self.x == 7 or self.t >= 30


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(8, 16)
        self.dropout = nn.Dropout(p=0.0)
        self.affine2 = nn.Linear(16, 2)

    def forward(self, x):
        return F.softmax(self.affine2(F.relu(self.dropout(self.affine1(x)))), dim=1)


env, policy = Corridor(), Policy()
optimizer = optim.Adam(policy.parameters(), lr=2e-2)
eps = np.finfo(np.float32).eps.item()
lengths = []
for episode in range(40):
    state, log_probs, rewards, done = env.reset(), [], [], False
    while not done:
        probs = policy(torch.from_numpy(state).float().unsqueeze(0))
        action = torch.multinomial(probs, 1)
        log_probs.append(torch.log(probs.gather(1, action)).squeeze(1))
        state, reward, done = env.step(action.item())
        rewards.append(reward)
    R, returns = 0, deque()
    for r in rewards[::-1]:
        R = r + 0.99 * R
        returns.appendleft(R)
    returns = torch.tensor(returns)
    returns = (returns - returns.mean()) / (returns.std() + eps)
    loss = torch.cat([-lp * R for lp, R in zip(log_probs, returns)]).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    lengths.append(len(rewards))
    if episode < 3:
        print(f"episode {episode} length {len(rewards)} loss {loss.item():.4f}")
assert np.mean(lengths[-10:]) < 8, lengths

memory = deque([], maxlen=500)
net, target = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)), None
target = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
target.load_state_dict(net.state_dict())
optimizer = optim.AdamW(net.parameters(), lr=1e-2, amsgrad=True)
shown = 0
for episode in range(25):
    state, done = torch.tensor(env.reset()).unsqueeze(0), False
    while not done:
        if random.random() > 0.3:
            with torch.no_grad():
                action = net(state).max(1).indices.view(1, 1)
        else:
            action = torch.tensor([[random.randrange(2)]], dtype=torch.long)
        obs, reward, done = env.step(action.item())
        nxt = None if done else torch.tensor(obs).unsqueeze(0)
        memory.append(Transition(state, action, nxt, torch.tensor([reward])))
        state = nxt
        if len(memory) < 32:
            continue
        batch = Transition(*zip(*random.sample(memory, 32)))
        mask = torch.tensor(tuple(s is not None for s in batch.next_state), dtype=torch.bool)
        non_final = torch.cat([s for s in batch.next_state if s is not None])
        q = net(torch.cat(batch.state)).gather(1, torch.cat(batch.action))
        values = torch.zeros(32)
        with torch.no_grad():
            values[mask] = target(non_final).max(1).values
        loss = nn.SmoothL1Loss()(q, (values * 0.95 + torch.cat(batch.reward)).unsqueeze(1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(net.parameters(), 100)
        optimizer.step()
        td, nd = target.state_dict(), net.state_dict()
        for key in nd:
            td[key] = nd[key] * 0.05 + td[key] * 0.95
        target.load_state_dict(td)
        if shown < 4:
            print(f"q loss {loss.item():.4f}")
            shown += 1
with torch.no_grad():
    best = net(torch.eye(8)).argmax(dim=1)
assert best[3:7].tolist() == [1, 1, 1, 1], best
