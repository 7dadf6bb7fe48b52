# Python numbers to and from memory.

cdef extern from "float8.hpp" namespace "flambeau" nogil:
    double float8_to_double(uint8_t, int)
    uint8_t double_to_float8(double, int)

cdef object read_element(char* p, int code):
    if code == F32:
        return <double>(<float*>p)[0]
    if code == F64:
        return (<double*>p)[0]
    if code == I64:
        return (<int64_t*>p)[0]
    if code == BOOL:
        return (<uint8_t*>p)[0] != 0
    if code == I32:
        return (<int32_t*>p)[0]
    if code == U8:
        return (<uint8_t*>p)[0]
    if code == I8:
        return (<int8_t*>p)[0]
    if code == I16:
        return (<int16_t*>p)[0]
    if code == U16:
        return (<uint16_t*>p)[0]
    if code == U32:
        return (<uint32_t*>p)[0]
    if code == U64:
        return (<uint64_t*>p)[0]
    if code == F16:
        return half_to_double((<uint16_t*>p)[0])
    if code == BF16:
        return bfloat_to_double((<uint16_t*>p)[0])
    if code >= F8_E4M3FN:
        return float8_to_double((<uint8_t*>p)[0], code)
    if code == C64:
        return complex((<float*>p)[0], (<float*>p)[1])
    return complex((<double*>p)[0], (<double*>p)[1])


cdef object out_of_range(object value, int code):
    return RuntimeError(f"value cannot be converted to type {(<dtype>DTYPES[code]).name} without overflow: {value!r}")


cdef int check_float8_range(object value, int code) except -1:
    """Raise for a number to fill with beyond the type's largest, but not for an infinity that it has."""
    cdef double d = value
    cdef double largest = 448 if code == F8_E4M3FN else 240 if code == F8_E4M3FNUZ else 57344
    if code == F8_E8M0FNU:
        if isinstance(value, float) and (d < 5.877471754111438e-39 or d > 1.7014118346046923e38):
            raise out_of_range(value, code)
    elif (d > largest or d < -largest) and not (code == F8_E5M2 and isinf_(d)):
        raise out_of_range(value, code)
    return 0


cdef object whole_number(object value, int code):
    """A number as an int, its fraction cut off; infinities and NaN are errors."""
    try:
        return int(value)
    except (ValueError, OverflowError):
        raise out_of_range(value, code) from None


cdef int write_element(char* p, int code, object value) except -1:
    """Store a Python number; an integer that does not fit is an error."""
    cdef long long i
    cdef double d
    if code == F32:
        d = value
        if isinf_(<float>d) and not isinf_(d) and not isinstance(value, float):
            raise out_of_range(value, code)
        (<float*>p)[0] = <float>d
    elif code == F64:
        (<double*>p)[0] = value
    elif code == BOOL:
        (<uint8_t*>p)[0] = 1 if value else 0
    elif code == C64:
        c = complex(value)
        (<float*>p)[0] = c.real
        (<float*>p)[1] = c.imag
    elif code == C128:
        c = complex(value)
        (<double*>p)[0] = c.real
        (<double*>p)[1] = c.imag
    elif code == F16:
        (<uint16_t*>p)[0] = double_to_half(<double>value)
    elif code == BF16:
        (<uint16_t*>p)[0] = double_to_bfloat(<double>value)
    elif code >= F8_E4M3FN:
        (<uint8_t*>p)[0] = double_to_float8(<double>value, code)
    elif code == U64:
        v = whole_number(value, code)
        if not -(1 << 63) <= v < (1 << 64):
            raise out_of_range(value, code)
        (<uint64_t*>p)[0] = <uint64_t>(v & 0xFFFFFFFFFFFFFFFF)
    else:
        v = value if type(value) is int else whole_number(value, code)
        if not -(1 << 63) <= v < (1 << 63):
            raise out_of_range(value, code)
        i = v
        if code == I64:
            (<int64_t*>p)[0] = i
        elif code == I32:
            if i != <int32_t>i:
                raise out_of_range(value, code)
            (<int32_t*>p)[0] = <int32_t>i
        elif code == I16:
            if i != <int16_t>i:
                raise out_of_range(value, code)
            (<int16_t*>p)[0] = <int16_t>i
        elif code == I8:
            if i != <int8_t>i:
                raise out_of_range(value, code)
            (<int8_t*>p)[0] = <int8_t>i
        elif code == U8:
            if i < -255 or i > 255:
                raise out_of_range(value, code)
            (<uint8_t*>p)[0] = <uint8_t>i
        elif code == U16:
            if i < -65535 or i > 65535:
                raise out_of_range(value, code)
            (<uint16_t*>p)[0] = <uint16_t>i
        else:
            if i < -4294967295 or i > 4294967295:
                raise out_of_range(value, code)
            (<uint32_t*>p)[0] = <uint32_t>i
    return 0


cdef object list_of(Tensor t, int d, char* p):
    cdef int64_t i
    cdef int64_t step
    if d == t.ndim_:
        return read_element(p, t.code)
    step = t.strides_[d] * ITEM[t.code]
    if d == t.ndim_ - 1:
        if t.code == F32:
            return [<double>(<float*>(p + i * step))[0] for i in range(t.shape_[d])]
        if t.code == I64:
            return [(<int64_t*>(p + i * step))[0] for i in range(t.shape_[d])]
        return [read_element(p + i * step, t.code) for i in range(t.shape_[d])]
    return [list_of(t, d + 1, p + i * step) for i in range(t.shape_[d])]
