"""The words of the C dialect: one kernel text is CUDA C++ and OpenCL C through these macros.

Compile with `OPTIONS[device]`: expansions of elementary functions count on every product and sum
being rounded where it is written, so contraction into fused multiply-adds must be off.
"""

from __future__ import annotations

DEVICES = ("cuda", "opencl")
OPTIONS = {
    "cuda": ("--std=c++17", "--fmad=false"),
    "opencl": ("-cl-std=CL1.2", "-cl-fp32-correctly-rounded-divide-sqrt"),
}

_CUDA = r"""
#ifdef CUDA_SHIM
# define KERNEL(name) static void name
#else
# define KERNEL(name) extern "C" __global__ void name
#endif
#ifndef END_KERNEL
# define END_KERNEL(name)
#endif
#define DEV static __device__ __forceinline__
#define GLOBAL
#define SHARED(T, name, n) __shared__ T name[n]
#define BARRIER() __syncthreads()
#define TID ((int)threadIdx.x)
#define NT ((int)blockDim.x)
#define BID ((i64)blockIdx.x)
#define NB ((i64)gridDim.x)
typedef unsigned char u8; typedef signed char i8; typedef unsigned short u16; typedef short i16;
typedef unsigned u32; typedef int i32; typedef unsigned long long u64; typedef long long i64;
typedef float f32; typedef double f64; typedef u16 f16s;
#define I64_C(x) x##LL
#define U64_C(x) x##ULL
#define f32_NAN (__uint_as_float(0x7fc00000u))
#define f32_INF (__uint_as_float(0x7f800000u))
#define u32_of_f32(x) __float_as_uint(x)
#define f32_of_u32(x) __uint_as_float(x)
#define u64_of_f64(x) ((u64)__double_as_longlong(x))
#define f64_of_u64(x) __longlong_as_double((i64)(x))
#ifndef CUDA_SHIM
DEV f32 f32_of_half(u16 h) { f32 f; asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h)); return f; }
DEV u16 half_of_f32(f32 f) { u16 h; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f)); return h; }
#endif
#define LOAD_f16(p, i) f32_of_half((p)[i])
#define STORE_f16(p, i, v) ((p)[i] = half_of_f32(v))
#define ROUND_f16(v) f32_of_half(half_of_f32(v))
#define f32_sqrt sqrtf
#define f32_floor floorf
#define f32_ceil ceilf
#define f32_trunc truncf
#define f32_rint rintf
#define f32_fma fmaf
#define f32_abs fabsf
#define f32_copysign copysignf
#define f32_ldexp ldexpf
#define f32_sin sinf
#define f32_cos cosf
#define f32_tan tanf
#define f32_fmod fmodf
#define f32_lgamma lgammaf
"""

_OPENCL = r"""
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#pragma OPENCL FP_CONTRACT OFF
#define KERNEL(name) __kernel void name
#define END_KERNEL(name)
#define DEV static inline
#define GLOBAL __global
#define SHARED(T, name, n) __local T name[n]
#define BARRIER() barrier(CLK_LOCAL_MEM_FENCE)
#define TID ((int)get_local_id(0))
#define NT ((int)get_local_size(0))
#define BID ((i64)get_group_id(0))
#define NB ((i64)get_num_groups(0))
typedef uchar u8; typedef char i8; typedef ushort u16; typedef short i16;
typedef uint u32; typedef int i32; typedef ulong u64; typedef long i64;
typedef float f32; typedef double f64; typedef half f16s;
#define I64_C(x) x##L
#define U64_C(x) x##UL
#define f32_NAN (as_float(0x7fc00000u))
#define f32_INF (as_float(0x7f800000u))
#define u32_of_f32(x) as_uint(x)
#define f32_of_u32(x) as_float(x)
#define u64_of_f64(x) as_ulong(x)
#define f64_of_u64(x) as_double(x)
#define LOAD_f16(p, i) vload_half((i), (p))
#define STORE_f16(p, i, v) vstore_half_rte((v), (i), (p))
DEV f32 ROUND_f16(f32 v) {
  ushort h; vstore_half_rte(v, 0, (__private half *)&h);
  return vload_half(0, (const __private half *)&h);
}
#define f32_sqrt sqrt
#define f32_floor floor
#define f32_ceil ceil
#define f32_trunc trunc
#define f32_rint rint
#define f32_fma fma
#define f32_abs fabs
#define f32_copysign copysign
#define f32_ldexp ldexp
#define f32_sin sin
#define f32_cos cos
#define f32_tan tan
#define f32_fmod fmod
#define f32_lgamma lgamma
"""

_COMMON = r"""
#define GID (BID * NT + TID)
#define GSZ (NB * NT)
#define f64_NAN ((f64)f32_NAN)
#define f64_INF ((f64)f32_INF)
#define i32_of_f32(x) ((i32)u32_of_f32(x))
#define f32_of_i32(x) f32_of_u32((u32)(x))
#define i64_of_f64(x) ((i64)u64_of_f64(x))
#define f64_of_i64(x) f64_of_u64((u64)(x))
#define f64_sqrt sqrt
#define f64_floor floor
#define f64_ceil ceil
#define f64_trunc trunc
#define f64_rint rint
#define f64_fma fma
#define f64_abs fabs
#define f64_copysign copysign
#define f64_ldexp ldexp
#define f64_sin sin
#define f64_cos cos
#define f64_tan tan
#define f64_fmod fmod
#define f64_lgamma lgamma
/* bfloat16 is stored as the upper half of a float; NaN stays a quiet NaN */
DEV f32 f32_of_bf16(u16 h) { return f32_of_u32((u32)h << 16); }
DEV u16 bf16_of_f32(f32 f) {
  const u32 u = u32_of_f32(f);
  return f != f ? (u16)0x7fc0 : (u16)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
#define LOAD_bf16(p, i) f32_of_bf16((p)[i])
#define STORE_bf16(p, i, v) ((p)[i] = bf16_of_f32(v))
#define ROUND_bf16(v) f32_of_bf16(bf16_of_f32(v))
/* float to integer saturates, NaN becomes 0 */
#define SATURATE(T, F, low, high, above) \
  DEV T T##_from_##F(F x) { \
    return x != x ? (T)0 : x < (F)(low) ? (low) : x >= above ? (high) : (T)x; \
  }
#define I64_HIGH I64_C(9223372036854775807)
SATURATE(i32, f32, -2147483647 - 1, 2147483647, 2147483648.0f)
SATURATE(i32, f64, -2147483647 - 1, 2147483647, 2147483648.0)
SATURATE(i64, f32, -I64_HIGH - 1, I64_HIGH, 9223372036854775808.0f)
SATURATE(i64, f64, -I64_HIGH - 1, I64_HIGH, 9223372036854775808.0)
SATURATE(u64, f32, 0, U64_C(18446744073709551615), 18446744073709551616.0f)
SATURATE(u64, f64, 0, U64_C(18446744073709551615), 18446744073709551616.0)
"""


def prelude(device: str) -> str:
    """The macros of one device, to stand before its kernels."""
    if device not in DEVICES:
        raise ValueError(f"C dialect: expected a device of {', '.join(DEVICES)}, got {device!r}")
    return (_CUDA if device == "cuda" else _OPENCL).lstrip("\n") + _COMMON.lstrip("\n")
