"""A U-Net with transposed convolutions, group norm, a learning-rate warm-up and checkpointing."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

torch.manual_seed(11)


def double_conv(i, o):
    return nn.Sequential(
        nn.Conv2d(i, o, 3, padding=1, bias=False),
        nn.BatchNorm2d(o),
        nn.ReLU(inplace=True),
        nn.Conv2d(o, o, 3, padding=1),
        nn.GroupNorm(2, o),
        nn.SiLU(),
    )


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.d1, self.d2, self.mid = double_conv(1, 4), double_conv(4, 8), double_conv(8, 16)
        self.pool = nn.MaxPool2d(2)
        self.u2, self.u1 = nn.ConvTranspose2d(16, 8, 2, stride=2), nn.ConvTranspose2d(8, 4, 2, 2)
        self.c2, self.c1 = double_conv(16, 8), double_conv(8, 4)
        self.out = nn.Conv2d(4, 1, kernel_size=1)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(self.pool(a))
        m = checkpoint(self.mid, self.pool(b), use_reentrant=False)
        y = self.u2(m)
        dy, dx = b.size(2) - y.size(2), b.size(3) - y.size(3)
        y = F.pad(y, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        y = self.c2(torch.cat([b, y], dim=1))
        y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)[:, :4] + self.u1(
            y
        )
        return self.out(self.c1(torch.cat([a, y], dim=1)))


def dice(logits, target):
    p = logits.sigmoid()
    inter = (p * target).sum(dim=(1, 2, 3))
    return 1 - ((2 * inter + 1) / (p.sum((1, 2, 3)) + target.sum((1, 2, 3)) + 1)).mean()


yy, xx = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
c = torch.randint(4, 12, (8, 2, 1, 1))
masks = (((yy - c[:, 0]) ** 2 + (xx - c[:, 1]) ** 2) < 16).float().unsqueeze(1)
images = masks + 0.3 * torch.randn_like(masks)
model = UNet()
opt = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-4)
warm = torch.optim.lr_scheduler.LinearLR(opt, 0.5, total_iters=3)
cos = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 20)
sched = torch.optim.lr_scheduler.SequentialLR(opt, [warm, cos], milestones=[3])
losses = []
for _ in range(20):
    opt.zero_grad()
    logits = model(images)
    loss = F.binary_cross_entropy_with_logits(logits, masks) + dice(logits, masks)
    loss.backward()
    opt.step()
    sched.step()
    losses.append(loss.item())
print(" ".join(f"{v:.4f}" for v in losses[:4]))
assert losses[-1] < 0.5 * losses[0], losses
model.eval()
with torch.no_grad():
    pred = model(images) > 0
    iou = (pred & masks.bool()).sum() / (pred | masks.bool()).sum()
assert iou > 0.6, iou
print(pred.dtype, pred.shape)
