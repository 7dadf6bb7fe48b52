# The part of nn.Module that every use of a layer passes through: finding members, and the call.
#
# Python calls `__getattr__` only after the normal search has failed and has made an exception of that. Classes
# that leave both to ModuleBase get one lookup function instead, which searches the members directly. A class
# that defines __getattr__ or __getattribute__, at any time, has Python's own dispatch: the type machinery
# replaces the slot again.

cdef extern from "Python.h":
    PyObject* _PyObject_GenericGetAttrWithDict(object, object, PyObject*, int) except? NULL
    PyObject* PyDict_GetItemWithError(object, object) except? NULL
    object PyObject_GenericGetDict(object, void*)

    Py_ssize_t PyDict_Size(object) except -1
    object PyObject_Call(object, PyObject*, PyObject*)

cdef extern from "support.hpp" namespace "flambeau" nogil:
    void set_attribute_lookup(PyObject*, void*)
    void replace_call(PyObject*, PyObject*, void*)

cdef tuple _member_dicts = ("_modules", "_parameters", "_buffers")
cdef tuple _hook_dicts = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
cdef tuple _global_hook_dicts = ()


def set_global_module_hooks(*dicts):
    """The dictionaries of hooks that run for every module."""
    global _global_hook_dicts
    _global_hook_dicts = dicts


cdef object find_member(object module, object name):
    """A child module, parameter or buffer by name; AttributeError where there is none."""
    cdef PyObject* found
    state = PyObject_GenericGetDict(module, NULL)
    for kind in _member_dicts:  # absent before Module.__init__
        found = PyDict_GetItemWithError(state, kind)
        if found == NULL:
            continue
        if isinstance(<object>found, dict):
            found = PyDict_GetItemWithError(<object>found, name)
            if found != NULL:
                return <object>found
        elif name in <object>found:
            return (<object>found)[name]
    raise AttributeError(f"'{type(module).__name__}' object has no attribute '{name}'")


cdef object module_attribute(object module, object name):
    """The tp_getattro slot: the normal search, then the members."""
    cdef PyObject* found = _PyObject_GenericGetAttrWithDict(module, name, NULL, 1)
    if found == NULL:
        return find_member(module, name)
    result = <object>found
    Py_DECREF(result)  # the cast took a reference of its own
    return result


cdef bint has_hooks(object module) except -1:
    cdef PyObject* hooks
    state = PyObject_GenericGetDict(module, NULL)
    for kind in _hook_dicts:
        hooks = PyDict_GetItemWithError(state, kind)
        if hooks != NULL and PyDict_Size(<object>hooks):
            return True
    for every in _global_hook_dicts:
        if PyDict_Size(every):
            return True
    return False


cdef object module_call(object module, PyObject* args, PyObject* kwargs):
    """The tp_call slot: run `forward`, with the hooks when there are any."""
    if has_hooks(module):
        return module._call_with_hooks(<tuple>args, {} if kwargs == NULL else dict(<dict>kwargs))
    return PyObject_Call(module_attribute(module, "forward"), args, kwargs)


@cython.auto_pickle(False)
cdef class ModuleBase:
    """What nn.Module's classes call; the class attribute `__getattr__` is theirs to set."""

    def __call__(self, *args, **kwargs):
        """Run `forward`, with the hooks when there are any."""
        return module_call(self, <PyObject*>args, <PyObject*>kwargs)


def get_member(self, name):
    """`__getattr__` of modules: a child module, parameter or buffer by name."""
    return find_member(self, name)


def speed_up_module(cls):
    """Give a class of modules the fast lookup and call, as far as it leaves both to its bases."""
    if cls.__getattr__ is get_member and cls.__getattribute__ is object.__getattribute__:
        set_attribute_lookup(<PyObject*>cls, <void*>module_attribute)
        replace_call(<PyObject*>cls, <PyObject*>ModuleBase, <void*>module_call)


# ---- walking the tree ------------------------------------------------------------------------------

def list_members(module, str kind, standard):
    """The members in the dictionary `kind` of a module and all below it, each once, parents first.

    None where a class in the tree walks in its own way (its named_modules is not `standard`).
    """
    cdef list found = []
    return found if walk_members(module, kind, standard, found, set(), set()) else None


cdef bint walk_members(object module, str kind, object standard, list found, set seen, set visited) except -1:
    cdef object state
    cdef object value
    if module in visited:
        return True
    visited.add(module)
    if not isinstance(module, ModuleBase) or type(module).named_modules is not standard:
        return False
    state = PyObject_GenericGetDict(module, NULL)
    for value in state[kind].values():
        if value is not None and value not in seen:
            seen.add(value)
            found.append(value)
    for value in state["_modules"].values():
        if value is not None and not walk_members(value, kind, standard, found, seen, visited):
            return False
    return True
