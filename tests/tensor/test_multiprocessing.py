"""Tensors handed to other processes share their memory."""

import flambeau as torch
import flambeau.multiprocessing as mp


def add_one(inbox: object, outbox: object, shared: object) -> None:
    received = inbox.get()
    received.add_(1)
    shared.mul_(2)
    outbox.put(received.sum().item())


def test_writes_of_another_process_show() -> None:
    context = mp.get_context("spawn")
    inbox, outbox = context.Queue(), context.Queue()
    shared = torch.ones(3).share_memory_()
    process = context.Process(target=add_one, args=(inbox, outbox, shared))
    process.start()
    sent = torch.arange(4.0)
    inbox.put(sent[1:])
    total = outbox.get(timeout=60)
    process.join(60)
    assert process.exitcode == 0
    assert total == 9
    assert shared.tolist() == [2, 2, 2]
