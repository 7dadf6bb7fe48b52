# The operator protocol: Tensor's special methods find their ops here.

cdef LoopOp _op_add = None
cdef LoopOp _op_sub = None
cdef LoopOp _op_mul = None
cdef LoopOp _op_div = None
cdef dict _operators = {}


def set_operators(dict table):
    """Which op each special method calls, by the method's name without underscores."""
    global _op_add, _op_sub, _op_mul, _op_div
    _operators.update(table)
    _op_add, _op_sub = _operators["add"], _operators["sub"]
    _op_mul, _op_div = _operators["mul"], _operators["truediv"]


cdef inline bint is_operand(object x) except -1:
    return isinstance(x, Tensor) or number_code(x) >= 0


cdef object loop_binary(LoopOp op, object a, object b):
    """a op b for a loop op with two operands (and defaults for its scalars)."""
    cdef PyObject* slots[8]
    cdef int i
    if not is_operand(a) or not is_operand(b):
        if hasattr(type(a), "__torch_function__") and hasattr(type(b), "__torch_function__"):
            return op(a, b)
        return NotImplemented
    if mode_stack_depth() > 0:
        return op(a, b)
    slots[0] = <PyObject*>a
    slots[1] = <PyObject*>b
    for i in range(op.scalars):
        slots[2 + i] = PyTuple_GET_ITEM(op.defaults, i)
    if has_override(slots, 2, None):
        return op(a, b)
    return call_pointwise(op, slots, None, None)


cdef object operator_call(str name, object a, object b):
    if not is_operand(a) or not is_operand(b):
        if not (hasattr(type(b), "__torch_function__") and hasattr(type(a), "__torch_function__")):
            return NotImplemented
    return _operators[name](a, b)


cdef object operator_inplace(str name, Tensor a, object b):
    if not is_operand(b):
        return NotImplemented
    return _operators[name](a, b)


cdef object compare_operator(str name, object a, object b):
    cdef object op = _operators[name]
    if type(op) is LoopOp:
        return loop_binary(<LoopOp>op, a, b)
    return operator_call(name, a, b)

