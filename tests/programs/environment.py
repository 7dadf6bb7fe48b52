"""What programs ask of the environment before they compute."""

import random

import numpy as np
import torch


def set_seed(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


set_seed(0)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
print(device, torch.cuda.is_available(), torch.cuda.device_count())
if torch.cuda.is_available():
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
print(hasattr(torch, "backends"), torch.backends.mps.is_available())
print(type(torch.__version__ + "").__name__, torch.version.cuda is None)
torch.set_default_device("cpu")
torch.use_deterministic_algorithms(True)
print(torch.are_deterministic_algorithms_enabled())
torch.use_deterministic_algorithms(False)
torch.set_float32_matmul_precision("high")
print(torch.get_float32_matmul_precision())
torch.set_float32_matmul_precision("highest")
torch.backends.cuda.matmul.allow_tf32 = True
torch.backends.cudnn.allow_tf32 = True
print(torch.get_num_threads() > 0)
torch.set_num_threads(torch.get_num_threads())
use_amp = device.type == "cuda"
model = torch.nn.Linear(4, 2).to(device)
opt = torch.optim.SGD(model.parameters(), lr=0.1)
scaler = torch.amp.GradScaler("cuda", enabled=use_amp)
for _ in range(2):
    opt.zero_grad()
    with torch.autocast(device_type=device.type, dtype=torch.bfloat16, enabled=use_amp):
        loss = model(torch.ones(3, 4, device=device)).square().mean()
    scaler.scale(loss).backward()
    scaler.unscale_(opt)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(opt)
    scaler.update()
    print(f"{loss.item():.4f}")
print(scaler.is_enabled(), scaler.state_dict(), scaler.get_scale())
with torch.amp.autocast("cpu", dtype=torch.bfloat16):
    out = model(torch.ones(3, 4))
    soft = torch.softmax(out, 1)
    kept = torch.ones(2) + 1
print(out.dtype, kept.dtype, torch.is_autocast_enabled("cpu"))
with torch.autograd.set_detect_anomaly(False):
    pass
with torch.device("cpu"):
    print(torch.ones(1).device)
print(
    torch.typename(torch.ones(1)), torch.is_tensor(3), torch.is_storage(3), torch.is_grad_enabled()
)
x = torch.ones(2).cuda() if torch.cuda.is_available() else torch.ones(2)
try:
    torch.ones(2).to("cuda")
except (RuntimeError, AssertionError):
    print("no cuda")
try:
    torch.ones(2).cuda()
except (RuntimeError, AssertionError):
    print("no cuda")
