// CRC-32 (the polynomial of ZIP and Ethernet) by carry-less multiplication: memory speed, where a
// table-driven loop is a third of it. Checkpoints check every byte they hold.
//
// A message is a polynomial over GF(2); its remainder is unchanged when a part x^n A is replaced by
// (x^n mod P) A. Four 128-bit lanes are folded by 512 bits at a time, then into one lane, then to 64
// bits, and Barrett's reduction gives the remainder. Bits are reflected throughout, as ZIP has them.
// Where registers hold four lanes, sixteen of them are folded by 2048 bits at a time before that.
// (Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ", Intel 2009.)
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__) && !defined(_MSC_VER)
#define FLAMBEAU_FOLDS 1
#include <immintrin.h>
#else
#define FLAMBEAU_FOLDS 0
#endif

namespace flambeau {
namespace crc32_detail {

struct Table {
  uint32_t entry[256];
  Table() noexcept {
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i;
      for (int k = 0; k < 8; ++k) c = (c >> 1) ^ (c & 1 ? 0xEDB88320u : 0u);
      entry[i] = c;
    }
  }
};

inline uint32_t by_table(uint32_t state, const uint8_t* p, size_t n) noexcept {
  static const Table table;
  for (size_t i = 0; i < n; ++i) state = (state >> 8) ^ table.entry[(state ^ p[i]) & 0xFF];
  return state;
}

#if FLAMBEAU_FOLDS
#define FLAMBEAU_CLMUL __attribute__((target("pclmul,sse4.1")))
#define FLAMBEAU_WIDE __attribute__((target("avx512f,vpclmulqdq")))

FLAMBEAU_CLMUL inline __m128i load(const uint8_t* p) noexcept {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

// lane * x^shift + next, where factors hold the powers for the lane's two halves
FLAMBEAU_CLMUL inline __m128i fold(__m128i lane, __m128i factors, __m128i next) noexcept {
  const __m128i low = _mm_clmulepi64_si128(lane, factors, 0x00);
  const __m128i high = _mm_clmulepi64_si128(lane, factors, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

FLAMBEAU_WIDE inline __m512i fold(__m512i lanes, __m512i factors, __m512i next) noexcept {
  const __m512i low = _mm512_clmulepi64_epi128(lanes, factors, 0x00);
  const __m512i high = _mm512_clmulepi64_epi128(lanes, factors, 0x11);
  return _mm512_ternarylogic_epi64(low, high, next, 0x96);  // the exclusive or of three
}

// Four registers of four lanes fold n bytes, a multiple of 256 and at least that many, into the four
// lanes that `by_folding` goes on with.
FLAMBEAU_WIDE inline void fold_wide(uint32_t state, const uint8_t* p, size_t n,
                                    __m128i* lane) noexcept {
  const __m512i by2048 = _mm512_set4_epi64(0x01322D1430, 0x011542778A, 0x01322D1430, 0x011542778A);
  const __m512i by512 = _mm512_set4_epi64(0x01C6E41596, 0x0154442BD4, 0x01C6E41596, 0x0154442BD4);
  __m512i wide[4];
  for (int k = 0; k < 4; ++k) wide[k] = _mm512_loadu_si512(p + 64 * k);
  wide[0] = _mm512_xor_si512(wide[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128(int(state))));
  for (p += 256, n -= 256; n >= 256; p += 256, n -= 256) {
    for (int k = 0; k < 4; ++k) wide[k] = fold(wide[k], by2048, _mm512_loadu_si512(p + 64 * k));
  }
  for (int k = 1; k < 4; ++k) wide[k] = fold(wide[k - 1], by512, wide[k]);
  _mm512_storeu_si512(lane, wide[3]);
}

inline bool can_fold_wide() noexcept {
  static const bool can =
      __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq");
  return can;
}

// n is a multiple of 16 and at least 64.
FLAMBEAU_CLMUL inline uint32_t by_folding(uint32_t state, const uint8_t* p, size_t n) noexcept {
  const __m128i by512 = _mm_set_epi64x(0x01C6E41596, 0x0154442BD4);
  const __m128i by128 = _mm_set_epi64x(0x00CCAA009E, 0x01751997D0);
  const __m128i by64 = _mm_set_epi64x(0, 0x0163CD6124);
  const __m128i barrett = _mm_set_epi64x(0x01F7011641, 0x01DB710641);
  const __m128i low32 = _mm_set_epi32(0, -1, 0, -1);
  __m128i lane[4];
  const size_t wide = n >= 512 && can_fold_wide() ? n & ~size_t(255) : 64;
  if (wide > 64) {
    fold_wide(state, p, wide, lane);
  } else {
    for (int k = 0; k < 4; ++k) lane[k] = load(p + 16 * k);
    lane[0] = _mm_xor_si128(lane[0], _mm_cvtsi32_si128(int(state)));
  }
  for (p += wide, n -= wide; n >= 64; p += 64, n -= 64) {
    for (int k = 0; k < 4; ++k) lane[k] = fold(lane[k], by512, load(p + 16 * k));
  }
  __m128i one = lane[0];
  for (int k = 1; k < 4; ++k) one = fold(one, by128, lane[k]);
  for (; n >= 16; p += 16, n -= 16) one = fold(one, by128, load(p));
  one = _mm_xor_si128(_mm_srli_si128(one, 8), _mm_clmulepi64_si128(one, by128, 0x10));
  const __m128i upper = _mm_srli_si128(one, 4);
  one = _mm_xor_si128(_mm_clmulepi64_si128(_mm_and_si128(one, low32), by64, 0x00), upper);
  __m128i quotient = _mm_clmulepi64_si128(_mm_and_si128(one, low32), barrett, 0x10);
  quotient = _mm_clmulepi64_si128(_mm_and_si128(quotient, low32), barrett, 0x00);
  return uint32_t(_mm_extract_epi32(_mm_xor_si128(one, quotient), 1));
}

inline bool can_fold() noexcept {
  static const bool can = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
  return can;
}
#endif

}  // namespace crc32_detail

// Is `crc32` faster here than a table-driven one?
inline bool crc32_folds() noexcept {
#if FLAMBEAU_FOLDS
  return crc32_detail::can_fold();
#else
  return false;
#endif
}

// The CRC-32 of what `before` is the CRC-32 of, followed by n more bytes (0 before the first).
inline uint32_t crc32(uint32_t before, const uint8_t* p, size_t n) noexcept {
  uint32_t state = ~before;
#if FLAMBEAU_FOLDS
  if (n >= 64 && crc32_detail::can_fold()) {
    const size_t whole = n & ~size_t(15);
    state = crc32_detail::by_folding(state, p, whole);
    p += whole;
    n -= whole;
  }
#endif
  return ~crc32_detail::by_table(state, p, n);
}

// a * b mod P; the highest bit is the coefficient of 1
inline uint32_t crc32_multiply(uint32_t a, uint32_t b) noexcept {
  uint32_t product = 0;
  for (uint32_t bit = 0x80000000u; bit; bit >>= 1) {
    if (a & bit) product ^= b;
    b = (b >> 1) ^ (b & 1 ? 0xEDB88320u : 0u);
  }
  return product;
}

// What n more bytes multiply a checksum by: x^8n mod P.
inline uint32_t crc32_shift(uint64_t n) noexcept {
  uint32_t shift = 0x80000000u, square = 0x00800000u;  // 1 and x^8
  for (; n; n >>= 1, square = crc32_multiply(square, square)) {
    if (n & 1) shift = crc32_multiply(square, shift);
  }
  return shift;
}

// The CRC-32 of two runs from theirs and the shift of the second's length.
inline uint32_t crc32_join(uint32_t first, uint32_t second, uint32_t shift) noexcept {
  return crc32_multiply(shift, first) ^ second;
}

}  // namespace flambeau
