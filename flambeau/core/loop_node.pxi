# Recording and differentiating loop ops.

cdef class LoopNode(Node):
    """The node of a loop op: operands as they were (or just their types and shapes), and the output."""

    cdef LoopOp op
    cdef object x0             # SavedTensor, Tensor, number, or None where it is not needed
    cdef object x1
    cdef object x2
    cdef object x3
    cdef object x4
    cdef object x5
    cdef int64_t versions[6]
    cdef Tensor out            # detached alias
    cdef int64_t out_version
    cdef object saved_out
    cdef tuple scalars
    cdef uint8_t codes[6]
    cdef uint8_t is_tensor[6]
    cdef tuple shapes          # per operand, where it differs from the output's
    cdef bint saved_any
    cdef uint64_t mask         # reduced dimensions
    cdef bint keepdim
    cdef int full_ndim
    cdef object full_shape

    cdef str title(self):
        return self.op.node_name

    cdef PyObject* stored(self, int i) noexcept:
        if i == 0:
            return <PyObject*>self.x0
        if i == 1:
            return <PyObject*>self.x1
        if i == 2:
            return <PyObject*>self.x2
        if i == 3:
            return <PyObject*>self.x3
        if i == 4:
            return <PyObject*>self.x4
        return <PyObject*>self.x5

    cdef int keep(self, int i, object x) except -1:
        if isinstance(x, Tensor):
            self.saved_any = True
            self.versions[i] = (<Tensor>x).storage.version
            if (<Tensor>x).inference:
                raise_inference(<Tensor>x, self)
            if hooks_active():
                x = save_tensor(<Tensor>x, False, 0)
        if i == 0:
            self.x0 = x
        elif i == 1:
            self.x1 = x
        elif i == 2:
            self.x2 = x
        elif i == 3:
            self.x3 = x
        elif i == 4:
            self.x4 = x
        else:
            self.x5 = x
        return 0

    cdef Tensor output(self):
        cdef Tensor r
        if self.saved_out is not None:
            return (<SavedTensor>self.saved_out).get(self)
        check_version(self.out, self.out_version, self)
        if not grad_mode_on():
            return self.out
        r = alias_of(self.out)
        adopt(r, self, 0)
        return r

    cdef int release(self) except -1:
        if self.saved_any:
            self.x0 = self.x1 = self.x2 = self.x3 = self.x4 = self.x5 = None
            self.out = None
            self.saved_out = None
            self.released = True
        return 0

    cdef object vjp(self, object grad):
        cdef int i
        if self.released:
            raise_released(self)
        if self.edges == 1:
            return self.operand_vjp(0, <Tensor>grad, False)
        together = self.joint_vjp(<Tensor>grad, [self.edge(i) is not None for i in range(self.edges)])
        if together is not None:
            return tuple(together)
        return tuple([None if self.edge(i) is None else self.operand_vjp(i, <Tensor>grad, False) for i in range(self.edges)])

    cdef int propagate(self, _Run run, object grad) except -1:
        cdef int i
        cdef Tensor g = <Tensor>grad
        cdef bint spare
        if self.released:
            raise_released(self)
        if self.op.joint is not None and not grad_mode_on():
            wanted = [self.edge(i) is not None and (run.needed is None or self.edge(i) in run.needed) for i in range(self.edges)]
            together = self.joint_vjp(g, wanted)
            if together is not None:
                for i in range(self.edges):
                    if together[i] is not None:
                        run.send(self.edge(i), self.edge_nr(i), together[i])
                return 0
        spare = run.alone and self.edges <= 4 and 1 == (
            (self.n0 is not None) + (self.n1 is not None) + (self.n2 is not None) + (self.n3 is not None))
        if self.n0 is not None:
            self.send_operand(run, 0, self.n0, g, spare)
        if self.n1 is not None:
            self.send_operand(run, 1, self.n1, g, spare)
        if self.n2 is not None:
            self.send_operand(run, 2, self.n2, g, spare)
        if self.n3 is not None:
            self.send_operand(run, 3, self.n3, g, spare)
        for i in range(4, self.edges):
            if self.edge(i) is not None:
                self.send_operand(run, i, self.edge(i), g, False)
        return 0

    cdef int send_operand(self, _Run run, int i, Node target, Tensor grad, bint spare) except -1:
        cdef Tensor r
        if run.needed is not None and target not in run.needed:
            return 0
        r = self.operand_vjp(i, grad, spare)
        if r is not None:
            run.send(target, self.edge_nr(i), r)
        return 0

    cdef object joint_vjp(self, Tensor grad, list wanted):
        """The cotangents of the operands wanted from one kernel, or None where there is none such.

        Derivatives that are to be differentiated again come from the operands' own ops.
        """
        cdef int i, k
        if self.op.joint is None or grad_mode_on() or sum(wanted) < 2:
            return None
        operands = []
        for k in range(self.op.operands):
            x = <object>self.stored(k)
            if type(x) is SavedTensor:
                x = (<SavedTensor>x).get(self)
            elif x is not None:
                check_version(<Tensor>x, self.versions[k], self)
            operands.append(x)
        shapes = self.shapes if self.shapes is not None else (None,) * self.op.operands
        found = self.op.joint(grad, operands, shapes, self.scalars, self.mask, wanted)
        if found is None:
            return None
        for i in range(self.edges):
            if found[i] is not None:
                found[i] = fit_gradient(<Tensor>found[i], self, i)
        return found

    cdef Tensor operand_vjp(self, int i, Tensor grad, bint spare):
        """The cotangent of operand i; `spare`: grad is not needed any more and may be overwritten by it."""
        cdef object rule = self.op.vjps[i]
        cdef LoopOp op
        cdef PyObject* slots[20]
        cdef int k, uses, n = 1
        cdef Tensor r
        cdef list held = None      # what no field of this node keeps alive during the call
        if rule is None:
            return None
        if rule is True and self.op.form == REDUCTION and not (grad.needs_grad and grad_mode_on()) and self.shapes is None:
            r = spread(grad, self.mask, self.full_shape, self.keepdim)
            return r if r.code == self.codes[i] else cast_to(r, self.codes[i])
        if self.op.form == REDUCTION and not self.keepdim:
            grad = keep_reduced(grad, self.mask, self.full_ndim)
        if rule is True:
            r = grad
        else:
            op = <LoopOp>rule
            uses = self.op.reads[i]
            if uses & (1 << 29):
                grad = premultiply(self, grad)
                held = hold(held, grad)
                uses &= ~1
            slots[0] = <PyObject*>grad
            for k in range(self.op.operands):
                if uses & (1 << k):
                    slots[n] = self.stored(k)
                    if type(<object>slots[n]) is SavedTensor:
                        held = hold(held, (<SavedTensor>slots[n]).get(self))
                        slots[n] = <PyObject*>held[len(held) - 1]
                    elif isinstance(<object>slots[n], Tensor):
                        check_version(<Tensor>slots[n], self.versions[k], self)
                    n += 1
            if uses & (1 << 30):
                x = self.output()
                if self.op.form == REDUCTION and not self.keepdim:
                    x = keep_reduced(<Tensor>x, self.mask, self.full_ndim)
                held = hold(held, x)
                slots[n] = <PyObject*>x
                n += 1
            for k in range(self.op.scalars):
                slots[n] = PyTuple_GET_ITEM(self.scalars, k)
                n += 1
            if op.wants_count:
                x = reduced_count(self.full_shape, self.mask)
                held = hold(held, x)
                slots[n] = <PyObject*>x
                n += 1
            if op.form == POINTWISE:
                r = call_overwriting(op, slots, grad) if spare and is_spare(grad) else call_pointwise(op, slots, None, None)
            else:
                r = run_recorded_rows(op, slots, self.mask)
        return fit_gradient(r, self, i)


cdef Tensor run_recorded_rows(LoopOp op, PyObject** slots, uint64_t mask):
    cdef int i, ndim = 0
    cdef bint record = False
    cdef Tensor r = run_reduction(op, slots, mask, True, -1)
    if grad_mode_on():
        for i in range(op.operands):
            if (<Tensor>slots[i]).needs_grad:
                record = True
            if (<Tensor>slots[i]).ndim_ > ndim:
                ndim = (<Tensor>slots[i]).ndim_
        if record:
            record_reduction(op, slots, r, mask, True, ndim)
    return r


cdef Tensor premultiply(LoopNode n, Tensor grad):
    """grad times operand 0: keeps derivatives of high order, linear in every cotangent, within MAX_IN operands."""
    cdef PyObject* slots[2]
    x = <object>n.stored(0)
    if type(x) is SavedTensor:
        x = (<SavedTensor>x).get(n)
    else:
        check_version(<Tensor>x, n.versions[0], n)
    if CATEGORY[grad.code] == 3:
        raise RuntimeError(f"{n.title()}: derivatives of such high order are only available for real tensors")
    slots[0], slots[1] = <PyObject*>grad, <PyObject*>x
    return call_pointwise(_op_mul, slots, None, None)


cdef list hold(list held, object x):
    if held is None:
        return [x]
    held.append(x)
    return held


cdef Tensor spread(Tensor g, uint64_t mask, tuple shape, bint keepdim):
    """The gradient of a sum: g repeated along the reduced dimensions, without history."""
    cdef int n = <int>PyTuple_GET_SIZE(shape), d, j = 0
    cdef Tensor r = alias_shape(g, n)
    for d in range(n):
        r.shape_[d] = <object>PyTuple_GET_ITEM(shape, d)
        if mask & (1ULL << d):
            r.strides_[d] = 0
            j += 1 if keepdim and g.ndim_ > 0 else 0
        else:
            r.strides_[d] = g.strides_[j]
            j += 1
    find_dense(r)
    r.base = g.base if g.base is not None else g
    return r


cdef object reduced_count(object shape, uint64_t mask):
    n = 1
    for d, s in enumerate(shape):
        if mask & (1ULL << <int>d):
            n *= s
    return n


cdef Tensor keep_reduced(Tensor g, uint64_t mask, int full):
    """g with size-1 dimensions put back where they were reduced away."""
    cdef list shape = []
    cdef int d, j = 0
    for d in range(full):
        if mask & (1ULL << d):
            shape.append(1)
        else:
            shape.append(g.shape_[j])
            j += 1
    return reshape_view(g, tuple(shape))


cdef Tensor fit_gradient(Tensor r, LoopNode n, int i):
    """Bring a cotangent to the operand's shape and type."""
    cdef object shape = None if n.shapes is None else n.shapes[i]
    if n.op.form == REDUCTION and shape is None:
        shape = n.full_shape
    if shape is not None and not shape_is(r, shape):
        r = sum_or_expand(r, shape)
    if r.code != n.codes[i]:
        r = cast_to(r, n.codes[i])
    return r


cdef bint shape_is(Tensor t, object shape):
    cdef int i
    if t.ndim_ != len(shape):
        return False
    for i in range(t.ndim_):
        if t.shape_[i] != shape[i]:
            return False
    return True


cdef Tensor sum_or_expand(Tensor r, tuple shape):
    """Sum r over broadcast dimensions, and repeat it along those it lacks, to reach shape."""
    cdef int i, lead = r.ndim_ - <int>len(shape)
    cdef list dims = []
    cdef bint grow = lead < 0
    for i in range(r.ndim_):
        if i < lead or (shape[i - lead] == 1 and r.shape_[i] != 1):
            dims.append(i)
        elif r.shape_[i] == 1 and shape[i - lead] != 1:
            grow = True
    if dims:
        r = _sum_op(r, tuple(dims), True)
        if lead > 0:
            r = reshape_view(r, tuple([r.shape_[i] for i in range(lead, r.ndim_)]))
    if grow:
        r = expand_view(r, shape)
    return r


def sum_to_shape(Tensor r, shape):
    """Sum r over the dimensions in which `shape` was broadcast to reach it."""
    return r if shape_is(r, tuple(shape)) else sum_or_expand(r, tuple(shape))


cdef Tensor cast_to(Tensor r, int code):
    if CATEGORY[r.code] == 3 and CATEGORY[code] < 3:
        r = _real_op(r)
    if r.code == code:
        return r
    return _to_dtype_op(r, <object>DTYPES[code])


cdef int record_loop(LoopOp op, PyObject** slots, Tensor r, Tensor into) except -1:
    """Record a pointwise call; with `into`, rebase the written tensor's history."""
    cdef LoopNode n
    cdef int i, uses = 0
    cdef object x
    cdef Tensor t
    cdef Tensor old = None
    if op.vjps is None:
        op.vjp_table()
    n = LoopNode.__new__(LoopNode)
    number_node(n)
    n.op = op
    n.edges = op.operands
    for i in range(op.operands):
        x = <object>slots[i]
        if not isinstance(x, Tensor):
            continue
        t = <Tensor>x
        n.is_tensor[i] = 1
        n.codes[i] = <uint8_t>t.code
        if op.reads[i] < 0:
            continue
        if t.needs_grad:
            if i < 4:
                set_edge(n, i, t)
            uses |= op.reads[i]
        if not same_shape(t, r):
            if n.shapes is None:
                n.shapes = (None,) * op.operands
            n.shapes = n.shapes[:i] + (tuple(t.shape),) + n.shapes[i + 1:]
    if op.operands > 4:
        n.more = tuple([
            (source_of(<Tensor>slots[i]), (<Tensor>slots[i]).output_nr) if isinstance(<object>slots[i], Tensor) and op.vjps[i] is not None else (None, 0)
            for i in range(4, op.operands)])
    for i in range(op.operands):
        if uses & (1 << i):
            n.keep(i, <object>slots[i])
    if op.scalars:
        n.scalars = scalars_of(op, slots)
    if into is not None:
        rebase_history(into, n, 0)
    else:
        adopt(r, n, 0)
    if uses & (1 << 30):
        keep_output(n, r)
    return 0


cdef Tensor save_overwritten(LoopOp op, PyObject** slots, Tensor into):
    """A copy of the tensor about to be written, with its history, if a derivative reads the old value."""
    cdef int i, uses = 0
    cdef Tensor held = None
    if op.vjps is None:
        op.vjp_table()
    for i in range(op.operands):
        if isinstance(<object>slots[i], Tensor) and wants_history(<Tensor>slots[i]) and op.reads[i] >= 0:
            uses |= op.reads[i]
    for i in range(op.operands):
        if slots[i] == <PyObject*>into and uses & (1 << i):
            held = clone_of(into)
            if wants_history(into):
                adopt(held, into.grad_fn_, into.output_nr)
            return held
    return None


cdef tuple scalars_of(LoopOp op, PyObject** slots):
    """The scalar arguments; the tuple of defaults itself where they are just that."""
    cdef int i
    if PyTuple_GET_SIZE(op.defaults) == op.scalars:
        for i in range(op.scalars):
            if slots[op.operands + i] != PyTuple_GET_ITEM(op.defaults, i):
                break
        else:
            return op.defaults
    return tuple([<object>slots[op.operands + i] for i in range(op.scalars)])


cdef int keep_output(LoopNode n, Tensor r) except -1:
    n.saved_any = True
    if hooks_active():
        n.saved_out = save_tensor(r, True, 0)
        return 0
    n.out = alias_of(r)
    n.out_version = r.storage.version
    return 0


cdef int record_reduction(LoopOp op, PyObject** slots, Tensor r, uint64_t mask, bint keepdim, int ndim) except -1:
    cdef LoopNode n
    cdef int64_t shape[64]
    cdef int i, uses = 0
    cdef Tensor t
    if op.vjps is None:
        op.vjp_table()
    n = LoopNode.__new__(LoopNode)
    number_node(n)
    n.op = op
    n.edges = op.operands
    n.mask = mask
    n.keepdim = keepdim or ndim == 0
    n.full_ndim = ndim
    if op.operands == 1:
        n.full_shape = int_tuple((<Tensor>slots[0]).shape_, (<Tensor>slots[0]).ndim_)
    else:
        ndim = broadcast_shape(op, slots, op.operands, shape)
        n.full_shape = int_tuple(shape, ndim)
    for i in range(op.operands):
        t = <Tensor>slots[i]
        n.is_tensor[i] = 1
        n.codes[i] = <uint8_t>t.code
        if op.reads[i] >= 0 and t.needs_grad:
            set_edge(n, i, t)
            uses |= op.reads[i]
        if op.operands > 1 and not shape_is(t, n.full_shape):
            if n.shapes is None:
                n.shapes = (None,) * op.operands
            n.shapes = n.shapes[:i] + (tuple(t.shape),) + n.shapes[i + 1:]
    for i in range(op.operands):
        if uses & (1 << i):
            n.keep(i, <object>slots[i])
    if op.scalars:
        n.scalars = scalars_of(op, slots)
    adopt(r, n, 0)
    if uses & (1 << 30):
        keep_output(n, r)
    return 0


def record_rows(LoopOp op, tuple arguments, Tensor result, dim):
    """Give a result of history that of a row program's call: op(*arguments, dim), computed elsewhere."""
    cdef PyObject* slots[20]
    cdef int i, ndim = 0
    if <int>len(arguments) != op.operands + op.scalars or op.form != ROWS:
        raise ValueError(f"record_rows: {op.name} takes {op.operands} operands and {op.scalars} numbers")
    if not grad_mode_on():
        return
    for i in range(op.operands + op.scalars):
        slots[i] = <PyObject*>arguments[i]
        if i < op.operands:
            ndim = max(ndim, (<Tensor?>arguments[i]).ndim_)
    record_reduction(op, slots, result, reduced_mask(op, dim, ndim, <Tensor>slots[0]), True, ndim)
