"""Few least elements of a line: only those up to a bound become words.

In lines that stay in the cache the bound comes from the least elements of groups, one group a lane
of some vectors: the k-th least of those is at least the line's k-th least, and hardly more while k
is small beside the number of groups. For more elements, or longer lines, it is guessed from a
sample.
"""

from __future__ import annotations

from .ir import Builder
from .sort_keys import Keys, emit_pack, emit_word
from .sort_words import SLACK, call, emit_ties, word_at

FEWER = 16  # it pays where at most one element in so many is wanted

_SAMPLE, _LARGE_SAMPLE = 128, 1024  # elements looked at; the second in lines longer than _LARGE
_LARGE = 1 << 13
_GROUPS = 2  # vectors of them


def emit_collect(b: Builder, keys: Keys) -> None:
    """collect(source, words, scratch, begin, end, flip, least, shift, last, counts, found).

    Words of at least the `last` least of the elements begin..end, and how many in *found; where the
    sample misled the words of all.
    """
    names = ["begin", "end", "flip", "least", "shift", "last"]
    parameters = [("ptr", "%source"), ("ptr", "%words"), ("ptr", "%scratch")]
    parameters += [("i64", f"%{name}") for name in names] + [("ptr", "%counts"), ("ptr", "%found")]
    with b.function("collect", parameters, linkage="internal"):
        cut = ("%flip", "%least", "%shift")
        groups = str(_GROUPS * _lanes(b, keys))
        n = b.sub("%end", "%begin")
        near = b.emit(f"icmp ult i64 {n}, {_LARGE}")
        few = b.emit(f"icmp ule i64 {b.mul('%last', 2)}, {groups}")
        (bound,) = b.choose(
            b.emit(f"and i1 {near}, {few}"),
            lambda: [_group_bound(b, keys, cut)],
            lambda: [_guess_bound(b, keys, cut)],
            ["i64"],
        )
        kept = _emit_scan(b, keys, cut, bound)
        b.store("i64", kept, "%found", 8)
        with b.when(b.less(kept, "%last")):
            emit_pack(b, keys, "%source", "%words", "%begin", "%end", cut)
            b.store("i64", b.sub("%end", "%begin"), "%found", 8)


def _lanes(b: Builder, keys: Keys) -> int:
    return b.target.vector_bytes // (8 if keys.wide else 4)


def _group_bound(b: Builder, keys: Keys, cut: tuple[str, str, str]) -> str:
    """The word of the `last` least of the groups' least elements, the first where several are."""
    lanes = _lanes(b, keys)
    groups, vector = _GROUPS * lanes, keys.vector(keys.type, lanes)
    whole = b.add("%begin", b.emit(f"and i64 {b.sub('%end', '%begin')}, {-groups}"))
    most = b.splat("-1", keys.type, lanes)
    # least keys, then the index of each group's first element of that key
    carry = [(vector, most)] * _GROUPS + [(vector, "zeroinitializer")] * _GROUPS
    with b.loop("%begin", whole, groups, carry=carry) as k:
        least, places = k.values[:_GROUPS], k.values[_GROUPS:]
        for j in range(_GROUPS):
            place = b.add(k.index, j * lanes)
            key, _, _ = keys.load(b.offset("%source", b.mul(place, keys.size)), lanes, "%flip")
            smaller = b.emit(f"icmp ult {vector} {key}, {least[j]}")
            here = b.splat(_as_key(b, keys, place), keys.type, lanes)
            least[j] = _select(b, smaller, vector, lanes, key, least[j])
            places[j] = _select(b, smaller, vector, lanes, here, places[j])
        k.next(*least, *places)
    words, scratch = (b.stack(f"[{groups + SLACK} x i64]") for _ in range(2))
    for j in range(_GROUPS):
        for lane in range(lanes):
            key, place = (
                b.emit(f"extractelement {vector} {k.values[i]}, i32 {lane}")
                for i in (j, _GROUPS + j)
            )
            place = place if keys.wide else b.emit(f"zext i32 {place} to i64")
            word = emit_word(b, keys, key, b.add(place, lane), None, cut[1:], 1)
            b.store("i64", word, word_at(b, words, str(j * lanes + lane)), 8)
    size = ("i64", str(groups))
    call(b, "sort_words", ("ptr", words), ("ptr", scratch), size, ("ptr", "%counts"))
    found = b.load("i64", word_at(b, words, b.sub("%last", 1)), 8)
    return b.emit(f"or i64 {found}, {emit_ties(b, '%shift')}")


def _as_key(b: Builder, keys: Keys, index: str) -> str:
    return index if keys.wide else b.emit(f"trunc i64 {index} to i32")


def _select(b: Builder, test: str, vector: str, lanes: int, yes: str, no: str) -> str:
    return b.emit(f"select <{lanes} x i1> {test}, {vector} {yes}, {vector} {no}")


def _guess_bound(b: Builder, keys: Keys, cut: tuple[str, str, str]) -> str:
    """A word that is probably above the `last` least and below most others."""
    sample, scratch = (b.stack(f"[{_LARGE_SAMPLE + SLACK} x i64]") for _ in range(2))
    n = b.sub("%end", "%begin")
    size = b.select(b.less(n, str(_LARGE)), "i64", str(_SAMPLE), str(_LARGE_SAMPLE))
    with b.loop("0", size) as k:
        at = b.add("%begin", b.emit(f"udiv i64 {b.mul(k.index, n)}, {size}"))
        key, _, _ = keys.load(b.offset("%source", b.mul(at, keys.size)), 1, "%flip")
        word = emit_word(b, keys, key, at, None, cut[1:], 1)
        b.store("i64", word, word_at(b, sample, k.index), 8)
    call(b, "sort_words", ("ptr", sample), ("ptr", scratch), ("i64", size), ("ptr", "%counts"))
    rank = b.emit(f"udiv i64 {b.mul('%last', size)}, {n}")
    real = b.emit(f"sitofp i64 {rank} to double")
    root = b.intrinsic("llvm.sqrt.f64", "double", ("double", real))
    margin = b.mul(b.emit(f"fptosi double {root} to i64"), 3)
    place = b.min(b.add(b.add(rank, margin), 5), b.sub(size, 1))
    return b.emit(f"or i64 {b.load('i64', word_at(b, sample, place), 8)}, {emit_ties(b, '%shift')}")


def _emit_scan(b: Builder, keys: Keys, cut: tuple[str, str, str], bound: str) -> str:
    """Append the words up to the bound to words; how many there are."""
    lanes = _lanes(b, keys)
    whole = b.add("%begin", b.emit(f"and i64 {b.sub('%end', '%begin')}, {-lanes}"))
    top = b.emit(f"lshr i64 {bound}, 32")

    def append(key: str, at: str, kept: str) -> str:
        word = emit_word(b, keys, key, at, None, cut[1:], 1)
        b.store("i64", word, word_at(b, "%words", kept), 8)
        inside = b.emit(f"icmp ule i64 {word}, {bound}")
        return b.add(kept, b.emit(f"zext i1 {inside} to i64"))

    if keys.wide:
        limit = b.emit(f"shl i64 {top}, %shift")
        limit = b.emit(f"add i64 {b.emit(f'or i64 {limit}, {_below(b)}')}, %least")
    else:
        limit = b.emit(f"trunc i64 {top} to i32")
    limits = b.splat(limit, keys.type, lanes)
    with b.loop("%begin", whole, lanes, carry=[("i64", "0")]) as k:
        (kept,) = k.values
        key, _, _ = keys.load(b.offset("%source", b.mul(k.index, keys.size)), lanes, "%flip")
        vector = keys.vector(keys.type, lanes)
        hits = b.emit(f"icmp ule {vector} {key}, {limits}")
        bits = b.emit(f"bitcast <{lanes} x i1> {hits} to i{lanes}")

        def take(key=key, k=k, kept=kept, vector=vector) -> list[str]:
            for lane in range(lanes):
                one = b.emit(f"extractelement {vector} {key}, i32 {lane}")
                kept = append(one, b.add(k.index, lane), kept)
            return [kept]

        some = b.emit(f"icmp ne i{lanes} {bits}, 0")
        k.next(*b.choose(some, take, lambda kept=kept: [kept], ["i64"]))
    with b.loop(whole, "%end", carry=[("i64", k.values[0])]) as rest:
        key, _, _ = keys.load(b.offset("%source", b.mul(rest.index, keys.size)), 1, "%flip")
        rest.next(append(key, rest.index, rest.values[0]))
    return rest.values[0]


def _below(b: Builder) -> str:
    """All bits that were cut off."""
    return b.sub(b.emit("shl i64 1, %shift"), 1)
