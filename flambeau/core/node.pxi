# Reverse-mode differentiation: nodes, saved tensors, leaves, and the engine.
#
# A node is made after everything it depends on, so the order of creation is a topological order: the
# engine keeps a heap of nodes keyed by their sequence number and needs no pass that counts dependencies.

from _thread import allocate_lock as _allocate_lock
import os as _os

cdef extern from "Python.h":
    Py_ssize_t PyList_GET_SIZE(object)
    PyObject* PyList_GET_ITEM(object, Py_ssize_t)

cdef int64_t sequence = 0
cdef bint anomaly_on = False
cdef bint anomaly_checks_nan = True


cdef class _Run


@cython.trashcan(True)
cdef class Node:
    """One recorded operation; edges lead to the nodes that made its inputs."""

    cdef int64_t seq
    cdef int outputs              # how many outputs it had
    cdef int edges                # how many inputs
    cdef Node n0
    cdef Node n1
    cdef Node n2
    cdef Node n3
    cdef int16_t nr[4]            # which output of those nodes
    cdef tuple more               # (node, nr) pairs beyond the fourth
    cdef object pending           # gradient waiting to be processed: a Tensor, or a list of them
    cdef void* run                # the backward call that is using `pending`
    cdef bint released
    cdef object hooks             # {"pre": [...], "post": [...], "retain": {nr: weakref}}
    cdef dict user_metadata
    cdef object trace             # where the forward call was made, in anomaly mode
    cdef object __weakref__

    cdef object vjp(self, object grad):
        """Gradients for the edges: a Tensor when there is one edge, else a sequence."""
        raise NotImplementedError

    cdef int propagate(self, _Run run, object grad) except -1:
        """Send the gradients of the inputs on."""
        return send_all(run, self, self.vjp(grad))

    cdef int release(self) except -1:
        """Forget what was saved."""
        self.released = True
        return 0

    cdef str title(self):
        return type(self).__name__

    cdef Node edge(self, int i):
        if i == 0:
            return self.n0
        if i == 1:
            return self.n1
        if i == 2:
            return self.n2
        if i == 3:
            return self.n3
        return <Node>self.more[i - 4][0]

    cdef int edge_nr(self, int i) except -1:
        return self.nr[i] if i < 4 else self.more[i - 4][1]

    def name(self):
        """The node's name, such as MulBackward0."""
        return self.title()

    def __repr__(self):
        return f"<{self.title()} object at {hex(id(self))}>"

    @property
    def next_functions(self):
        """(node, output number) for every input."""
        return tuple([(self.edge(i), self.edge_nr(i) if self.edge(i) is not None else 0) for i in range(self.edges)])

    @property
    def metadata(self):
        """A dictionary of the user's."""
        if self.user_metadata is None:
            self.user_metadata = {}
        return self.user_metadata

    def _sequence_nr(self):
        return self.seq

    def register_hook(self, fn):
        """Call fn(grad_inputs, grad_outputs) after the node ran; it may return other grad_inputs."""
        return _HookHandle(node_hooks(self, "post"), fn)

    def register_prehook(self, fn):
        """Call fn(grad_outputs) before the node runs; it may return other grad_outputs."""
        return _HookHandle(node_hooks(self, "before"), fn)


cdef dict node_hooks(Node n, str kind):
    if n.hooks is None:
        n.hooks = {}
    return n.hooks.setdefault(kind, {})


class _HookHandle:
    """Removes a hook again; also a context manager."""

    _next = 0

    def __init__(self, hooks, fn):
        _HookHandle._next += 1
        self.id = _HookHandle._next
        self._hooks = hooks
        hooks[self.id] = fn

    def remove(self):
        """Take the hook away."""
        self._hooks.pop(self.id, None)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.remove()


cdef inline void number_node(Node n):
    global sequence
    sequence += 2  # odd numbers are for the accumulators this node's edges create: they come before it
    n.seq = sequence
    n.outputs = 1
    if anomaly_on:
        n.trace = _anomaly_trace()


cdef object _anomaly_trace():
    import traceback
    return "".join(traceback.format_stack())


def set_anomaly(enabled, check_nan=True):
    """Turn recording of forward positions on or off; the previous setting."""
    global anomaly_on, anomaly_checks_nan
    before = (anomaly_on, anomaly_checks_nan)
    anomaly_on, anomaly_checks_nan = bool(enabled), bool(check_nan)
    return before


def anomaly_state():
    """(on, looking for NaN)"""
    return anomaly_on, anomaly_checks_nan


def push_saved_hooks(pack, unpack):
    """Saved tensors go through pack when saved and unpack when used, until popped."""
    cdef list hooks
    if saved_hook_list() == NULL:
        hooks = []
        set_saved_hook_list(<PyObject*>hooks)
    (<list>saved_hook_list()).append((pack, unpack))


def pop_saved_hooks():
    """Undo the last push_saved_hooks."""
    (<list>saved_hook_list()).pop()


cdef inline bint hooks_active() noexcept:
    return saved_hook_list() != NULL and PyList_GET_SIZE(<list>saved_hook_list()) > 0
