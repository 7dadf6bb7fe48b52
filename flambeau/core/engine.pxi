# The engine: one backward call from roots to leaves.

cdef enum:
    SMALL_HEAP = 32

cdef int64_t run_count = 0


@cython.no_gc
@cython.freelist(8)
cdef class _Run:
    """One backward call: a heap of nodes whose gradients are complete once they come to the top."""

    cdef PyObject** heap
    cdef PyObject* small[SMALL_HEAP]   # the heap while it fits
    cdef int64_t size
    cdef int64_t room
    cdef int64_t number    # tells backward calls apart
    cdef Node root         # where it starts; `roots` if there are several places
    cdef list roots
    cdef set reachable     # all nodes it may run, once somebody asked
    cdef dict elsewhere    # gradients of nodes another running backward call is using
    cdef dict captures     # node -> [(output number, position)] for grad()
    cdef list captured
    cdef set needed        # nodes on a path to the captures; None means all
    cdef bint accumulate_leaves
    cdef bint alone        # only the engine refers to the gradient that a node is given

    def __cinit__(self):
        global run_count
        run_count += 1
        self.number = run_count
        self.heap = &self.small[0]
        self.room = SMALL_HEAP

    def __dealloc__(self):
        cdef int64_t i
        for i in range(self.size):
            if (<Node>self.heap[i]).run == <void*>self:
                (<Node>self.heap[i]).pending = None
                (<Node>self.heap[i]).run = NULL
            Py_DECREF(<Node>self.heap[i])
        if self.heap != &self.small[0]:
            free(self.heap)

    cdef int grow(self) except -1:
        cdef PyObject** larger = <PyObject**>malloc(2 * self.room * sizeof(void*))
        if larger == NULL:
            raise MemoryError("backward: out of memory")
        memcpy(larger, self.heap, self.size * sizeof(void*))
        if self.heap != &self.small[0]:
            free(self.heap)
        self.heap = larger
        self.room *= 2
        return 0

    cdef int push(self, Node n) except -1:
        cdef int64_t i = self.size, p
        if self.size == self.room:
            self.grow()
        Py_INCREF(n)
        self.size += 1
        while i > 0:
            p = (i - 1) >> 1
            if (<Node>self.heap[p]).seq >= n.seq:
                break
            self.heap[i] = self.heap[p]
            i = p
        self.heap[i] = <PyObject*>n
        return 0

    cdef Node pop(self):
        cdef Node top = <Node>self.heap[0]
        cdef PyObject* x
        cdef int64_t i = 0, c
        cdef int64_t seq
        Py_DECREF(top)
        self.size -= 1
        if self.size == 0:
            return top
        x = self.heap[self.size]
        seq = (<Node>x).seq
        while True:
            c = 2 * i + 1
            if c >= self.size:
                break
            if c + 1 < self.size and (<Node>self.heap[c + 1]).seq > (<Node>self.heap[c]).seq:
                c += 1
            if seq >= (<Node>self.heap[c]).seq:
                break
            self.heap[i] = self.heap[c]
            i = c
        self.heap[i] = x
        return top

    cdef int send(self, Node n, int nr, Tensor grad) except -1:
        """Add a gradient for output nr of node n."""
        cdef object have
        if self.needed is not None and n not in self.needed:
            return 0
        if is_sparse(grad) and type(n) is not AccumulateGrad:  # leaves take it as it is, derivatives do not
            grad = <Tensor?>_densify(grad)
        if self.elsewhere is not None and n in self.elsewhere:
            return self.send_elsewhere(n, nr, grad)
        if n.run == NULL:
            n.run = <void*>self
            n.pending = None
            self.push(n)
        elif n.run != <void*>self:
            return self.send_elsewhere(n, nr, grad)
        have = n.pending
        n.pending = None
        n.pending = merge_pending(n, have, nr, grad, Py_REFCNT(have) == 1)
        return 0

    cdef int send_elsewhere(self, Node n, int nr, Tensor grad) except -1:
        if self.elsewhere is None:
            self.elsewhere = {}
        if n not in self.elsewhere:
            self.push(n)
            self.elsewhere[n] = None
        self.elsewhere[n] = merge_pending(n, self.elsewhere[n], nr, grad, False)
        return 0

    cdef object take(self, Node n):
        if self.elsewhere is not None and n in self.elsewhere and n.run != <void*>self:
            return self.elsewhere.pop(n)
        grad = n.pending
        n.pending = None
        n.run = NULL
        return grad


cdef object merge_pending(Node n, object have, int nr, Tensor grad, bint alone):
    """The gradients for n so far and one more; `alone`: nobody else refers to what there is so far."""
    cdef list parts
    if n.outputs == 1:
        if have is None:
            return grad
        if is_sparse(have) or is_sparse(grad):
            return _add_sparse(have, grad)
        if alone and is_spare(<Tensor>have) and same_shape(<Tensor>have, grad) and (<Tensor>have).code == grad.code:
            add_into(<Tensor>have, grad)
            return have
        return add_tensors(<Tensor>have, grad)
    parts = [None] * n.outputs if have is None else <list>have
    parts[nr] = grad if parts[nr] is None else add_tensors(<Tensor>parts[nr], grad)
    return parts


cdef bint is_spare(Tensor t) noexcept:
    """May a large gradient that nobody else refers to be overwritten: is its memory only its own, and no history kept?"""
    return (t.count >= 4096 and t.dense and type(t) is Tensor and t.base is None and t.storage.references == 1
            and t.storage.owner == NULL and t.storage.flags == 0 and not t.needs_grad and not grad_mode_on())


cdef int run_engine(_Run run, bint keep_graph) except -1:
    cdef void* before = engine_run()
    set_engine_run(<void*>run)
    try:
        return run_nodes(run, keep_graph)
    finally:
        set_engine_run(before)


def current_run():
    """A number that tells backward calls apart; -1 outside any."""
    return -1 if engine_run() == NULL else (<_Run>engine_run()).number


def will_run(Node n):
    """Is n among the nodes the current backward call runs?"""
    cdef _Run run
    if engine_run() == NULL:
        return False
    run = <_Run>engine_run()
    if run.needed is not None:
        return n in run.needed
    if run.reachable is None:
        run.reachable = find_reachable([run.root] if run.roots is None else run.roots)
    return n in run.reachable


cdef set find_reachable(list stack):
    cdef set found = set(stack)
    cdef list todo = list(stack)
    cdef Node n
    cdef Node child
    cdef int i
    while todo:
        n = todo.pop()
        for i in range(n.edges):
            child = n.edge(i)
            if child is not None and child not in found:
                found.add(child)
                todo.append(child)
    return found


cdef int run_nodes(_Run run, bint keep_graph) except -1:
    cdef Node n
    cdef object grad
    while run.size > 0:
        n = run.pop()
        grad = run.take(n)
        if grad is None:
            continue
        if type(n) is AccumulateGrad:
            arrive(run, <AccumulateGrad>n, <Tensor>grad, Py_REFCNT(grad) == 1)
            continue
        if n.hooks is not None:
            grad = run_pre_hooks(n, grad)
            if grad is None:
                continue
        if run.captures is not None and n in run.captures:
            for nr, position in run.captures[n]:
                run.captured[position] = grad if n.outputs == 1 else grad[nr]
            if not leads_on(run, n):
                continue
        if anomaly_on or n.hooks is not None:
            propagate_watched(run, n, grad)
        else:
            run.alone = Py_REFCNT(grad) == 1
            n.propagate(run, grad)
        grad = None
        if not keep_graph:
            n.release()
    return 0


cdef int arrive(_Run run, AccumulateGrad n, Tensor grad, bint alone) except -1:
    """A gradient reached a leaf."""
    cdef Tensor leaf = n.leaf()
    cdef dict hooks = leaf.hooks
    if hooks is not None and "grad" in hooks:
        grad = run_hooks(hooks["grad"], grad)
        alone = False
    if run.captures is not None and n in run.captures:
        for _, position in run.captures[n]:
            run.captured[position] = grad
        return 0
    if not run.accumulate_leaves:
        return 0
    if n.hooks is not None:
        grad = run_node_prehooks(n, grad)
        alone = False
    accumulate(leaf, grad, alone)
    if n.hooks is not None and "post" in n.hooks:
        for hook in list(n.hooks["post"].values()):
            hook((), (grad,))
    return 0


cdef int propagate_watched(_Run run, Node n, object grad) except -1:
    """Run a node with its hooks, or in anomaly mode."""
    cdef object results
    grad = run_node_prehooks(n, grad)
    results = vjp_watched(n, grad) if anomaly_on else n.vjp(grad)
    if n.hooks is not None and "post" in n.hooks:
        results = run_post_hooks(n, results, grad)
    send_all(run, n, results)
    return 0


cdef int send_all(_Run run, Node n, object results) except -1:
    """Send a node's results along its edges."""
    cdef int i
    cdef Node target
    if results is None:
        return 0
    if isinstance(results, Tensor):
        if n.n0 is not None:
            run.send(n.n0, n.nr[0], <Tensor>results)
        return 0
    if len(results) < n.edges:
        raise RuntimeError(f"function {n.title()} returned an incorrect number of gradients (expected {n.edges}, got {len(results)})")
    for i in range(n.edges):
        target = n.edge(i)
        if target is None:
            continue
        grad = results[i]
        if grad is not None:
            run.send(target, n.edge_nr(i), <Tensor?>grad)
    return 0


cdef bint leads_on(_Run run, Node n):
    """Is another captured node further down?"""
    cdef int i
    for i in range(n.edges):
        if n.edge(i) is not None and n.edge(i) in run.needed:
            return True
    return False


cdef object run_post_hooks(Node n, object results, object grad):
    inputs = (results,) if n.edges == 1 and (results is None or isinstance(results, Tensor)) else tuple(results)
    for hook in list(n.hooks["post"].values()):
        changed = hook(inputs, (grad,) if n.outputs == 1 else tuple(grad))
        if changed is not None:
            inputs = changed if isinstance(changed, tuple) else (changed,)
    return inputs[0] if n.edges == 1 else inputs


cdef object vjp_watched(Node n, object grad):
    """Run a node in anomaly mode: errors and NaN name the forward call."""
    try:
        results = n.vjp(grad)
    except Exception:
        print_trace(n)
        raise
    if anomaly_checks_nan:
        for i, r in enumerate((results,) if isinstance(results, Tensor) else (results or ())):
            if r is not None and _has_nan(r):
                print_trace(n)
                raise RuntimeError(f"Function '{n.title()}' returned nan values in its {i}th output.")
    return results


cdef object _has_nan = None


def set_has_nan(fn):
    """The test anomaly mode uses."""
    global _has_nan
    _has_nan = fn


cdef int print_trace(Node n) except -1:
    import warnings
    if n.trace is None:
        warnings.warn(f"Error detected in {n.title()}. No forward pass information available. Enable detect anomaly during forward pass for more information.", stacklevel=2)
    else:
        warnings.warn(f"Error detected in {n.title()}. Traceback of forward call that caused the error:\n{n.trace}", stacklevel=2)
    return 0


cdef set find_needed(list roots, dict captures):
    """Nodes from which a captured node can be reached (captured ones included)."""
    cdef dict state = {}  # node -> True once known to lead to a capture
    cdef list stack = [(r, 0, False) for r in roots]
    cdef Node n
    cdef Node child
    while stack:
        n, i, entered = stack.pop()
        if not entered:
            if n in state:
                continue
            state[n] = n in captures
        child = None
        while i < n.edges:
            child = n.edge(i)
            if child is not None:
                if child not in state:
                    break
                if state[child]:
                    state[n] = True
            i += 1
        if i < n.edges:
            stack.append((n, i, True))
            stack.append((child, 0, False))
    return {n for n, found in state.items() if found}


cdef int backward_plain(Tensor t, Tensor gradient, object retain_graph, object create_graph) except -1:
    """t.backward(gradient) for a gradient of t's own kind, or none where t has one element."""
    cdef _Run run
    cdef Tensor one
    cdef Node n
    cdef int before
    cdef bint create = create_graph is not False and bool(create_graph)
    if gradient is None and t.count != 1:
        raise RuntimeError(f"grad can be implicitly created only for scalar outputs, got shape {tuple(t.shape)}: pass backward() a gradient of that shape")
    n = source_of(t)
    if n is None:
        raise_no_history(0)
    if gradient is None and CATEGORY[t.code] != 2:
        raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {DTYPES[t.code]!r}")
    one = gradient
    if one is None:
        one = new_dense(t.code, t.ndim_, t.shape_)
        if t.code == F32:
            (<float*>one.data_ptr_)[0] = 1
        else:
            write_element(one.data_ptr_, t.code, 1)
    run = _Run.__new__(_Run)
    run.accumulate_leaves = True
    before = set_grad_mode(create)
    try:
        run.root = n
        run.send(n, t.output_nr, one)
        n = None
        one = None
        run_engine(run, create if retain_graph is None else bool(retain_graph))
    finally:
        set_grad_mode(before)
    return 0


cdef object _backward_hook = None


def set_backward_hook(fn):
    """What Tensor.backward calls when it is given arguments."""
    global _backward_hook
    _backward_hook = fn


cdef int raise_no_history(int i) except -1:
    raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")


cdef object edge_of(object x):
    """(node, output number) behind a tensor or a GradientEdge; the node is None if it needs no gradient."""
    if isinstance(x, Tensor):
        node = source_of(<Tensor>x)
        return node, (<Tensor>x).output_nr
    return x[0], x[1]


def gradient_edge(Tensor t):
    """(node, output number) where t's gradient goes; None for the node if it needs none."""
    return edge_of(t)


def run_backward(roots, grads, keep_graph, create_graph, inputs=None, accumulate=True):
    """Propagate from roots (tensors or edges) with their gradients; returns what arrived at `inputs`.

    With inputs and accumulate, .grad of just those leaves is accumulated; without accumulate the
    gradients are returned instead, None where none arrived.
    """
    cdef _Run run = _Run.__new__(_Run)
    cdef Node n
    cdef list starts = []
    cdef dict targets = {}
    cdef int before, i
    run.accumulate_leaves = accumulate
    for i, (t, g) in enumerate(zip(roots, grads)):
        node, nr = edge_of(t)
        if node is None:
            raise_no_history(i)
        starts.append((node, nr, g))
    if inputs is not None:
        for position, x in enumerate(inputs):
            node, nr = edge_of(x)
            if node is None:
                raise RuntimeError("One of the differentiated Tensors does not require grad")
            targets.setdefault(node, []).append((nr, position))
        run.needed = find_needed([s[0] for s in starts], targets)
        if not accumulate:
            run.captures, run.captured = targets, [None] * len(inputs)
    before = set_grad_mode(1 if create_graph else 0)
    run.roots = [s[0] for s in starts]
    try:
        while starts:
            node, nr, g = starts.pop()
            run.send(<Node>node, nr, <Tensor>g)
        node = g = grads = None
        run_engine(run, keep_graph)
    finally:
        set_grad_mode(before)
    return run.captured


def grad_enabled():
    """Is gradient recording on in this thread?"""
    return bool(grad_mode_on())


def set_grad_enabled(value):
    """Turn gradient recording on or off in this thread; the previous setting."""
    return bool(set_grad_mode(1 if value else 0))


def inference_enabled():
    """Is inference mode on in this thread?"""
    return bool(inference_mode_on())


cdef class GradGuard:
    """Sets gradient recording (and, if `inference` is not -1, inference mode) for the length of a with block.

    The base of no_grad, enable_grad and inference_mode; in the core because it is on every evaluation's path.
    """

    cdef int wanted
    cdef int inference
    cdef int before
    cdef int inference_before

    def __cinit__(self, *args, **kwargs):
        self.inference = -1

    cdef int enter(self) except -1:
        self.before = set_grad_mode(self.wanted)
        if self.inference >= 0:
            self.inference_before = set_inference_mode(self.inference)
        return 0

    def __exit__(self, kind, value, trace):
        set_grad_mode(self.before)
        if self.inference >= 0:
            set_inference_mode(self.inference_before)


cdef class NoGradGuard(GradGuard):
    """Recording off inside the block."""

    def __enter__(self):
        self.wanted = 0
        self.enter()


cdef class EnableGradGuard(GradGuard):
    """Recording on inside the block."""

    def __enter__(self):
        self.wanted = 1
        self.enter()


cdef class InferenceGuard(GradGuard):
    """Inference mode on (mode=True) or off inside the block; recording is its opposite."""

    cdef readonly bint mode

    def __init__(self, mode=True):
        self.mode = bool(mode)

    def __enter__(self):
        self.wanted = not self.mode
        self.inference = self.mode
        self.enter()
