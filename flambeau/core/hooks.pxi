# Hooks on tensors and nodes.

cdef object add_tensor_hook(Tensor t, object hook):
    if not (node_made(t) is not None or t.needs_grad):
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if t.grad_fn_ is None:
        if t.hooks is None:
            t.hooks = {}
        return _HookHandle(t.hooks.setdefault("grad", {}), hook)
    return _HookHandle(node_hooks(t.grad_fn_, "pre").setdefault(t.output_nr, {}), hook)


cdef object add_accumulate_hook(Tensor t, object hook):
    if not t.needs_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if node_made(t) is not None:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    if t.hooks is None:
        t.hooks = {}
    return _HookHandle(t.hooks.setdefault("accumulated", {}), hook)


cdef int keep_grad(Tensor t) except -1:
    cdef Node n = node_made(t)
    if not t.needs_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if n is None:
        return 0
    if t.hooks is None:
        t.hooks = {}
    t.hooks["retain"] = True
    node_hooks(n, "retain")[t.output_nr] = weakref_ref(t)
    return 0


cdef object run_pre_hooks(Node n, object grad):
    """Apply the hooks of the tensors whose gradient this is; the gradient to go on with."""
    cdef AccumulateGrad leaf
    if isinstance(n, AccumulateGrad):
        leaf = <AccumulateGrad>n
        if leaf.leaf().hooks is not None and "grad" in leaf.leaf().hooks:
            grad = run_hooks(leaf.leaf().hooks["grad"], grad)
        return grad
    if n.hooks is None:
        return grad
    for nr, hooks in n.hooks.get("pre", {}).items():
        part = grad if n.outputs == 1 else grad[nr]
        if part is not None:
            part = run_hooks(hooks, part)
            if n.outputs == 1:
                grad = part
            else:
                grad[nr] = part
    for nr, ref in n.hooks.get("retain", {}).items():
        t = ref()
        part = grad if n.outputs == 1 else grad[nr]
        if t is not None and part is not None:
            have = (<Tensor>t).grad_
            (<Tensor>t).grad_ = part if have is None else add_tensors(have, part)
    return grad


cdef object run_node_prehooks(Node n, object grad):
    """Apply the prehooks of the node itself."""
    before = n.hooks.get("before") if n.hooks is not None else None
    if before:
        for hook in list(before.values()):
            result = hook((grad,) if n.outputs == 1 else tuple(grad))
            if result is not None:
                grad = result[0] if n.outputs == 1 and isinstance(result, tuple) else (result if n.outputs == 1 else list(result))
    return grad


cdef object run_hooks(dict hooks, object grad):
    for hook in list(hooks.values()):
        result = hook(grad)
        if result is not None:
            if not isinstance(result, Tensor):
                raise TypeError(f"hook must return None or a Tensor, got {type(result).__name__}")
            grad = result
    return grad
