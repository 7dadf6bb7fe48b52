"""The C++ runtime headers: thread pool, allocator, machine-code loader.

Each header has a driver in `runtime/` that is compiled here and run one named test a process, so
that a crash or a deadlock is one failed test. Where the compiler has sanitizers they watch: threads
for the pool and the allocator, memory and undefined behaviour for the loader.
"""

from __future__ import annotations

import math
import os
import platform
import shlex
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from llvmlite import binding

HERE = Path(__file__).resolve().parent
HEADERS = HERE.parents[1] / "flambeau" / "core"
COMPILER = (
    shlex.split(os.environ.get("CXX", ""))
    or [path for path in map(shutil.which, ("g++", "clang++")) if path][:1]
)
MEMORY = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
THREADS = ("-O1", "-fsanitize=thread")

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the drivers use fork and setrlimit"),
    pytest.mark.skipif(not COMPILER, reason="no C++ compiler: set CXX, or install g++ or clang++"),
]


class Builder:
    """Compiles drivers, each once a session for a set of flags."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.built: dict[tuple[str, ...], Path] = {}

    def build(self, driver: str, *flags: str) -> Path:
        """The executable of a driver; without the sanitizers where the compiler lacks them."""
        key = (driver, *flags)
        if key not in self.built:
            program = self.folder / f"{driver}-{len(self.built)}"
            self.built[key] = program
            if self.compile(driver, program, flags) and not self.compile(driver, program, ("-O1",)):
                pytest.fail(f"{driver}.cpp does not compile:\n{self.message}")
        return self.built[key]

    def compile(self, driver: str, program: Path, flags: tuple[str, ...]) -> int:
        source = HERE / "runtime" / f"{driver}.cpp"
        warnings = ["-Wall", "-Wextra", "-Werror"]
        command = [*COMPILER, "-std=c++17", *warnings, f"-I{HEADERS}", "-pthread", *flags]
        done = subprocess.run([*command, source, "-o", program], capture_output=True, text=True)
        self.message = done.stderr
        return done.returncode


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(tmp_path_factory.mktemp("runtime"))


def drive(program: Path, *arguments: object, **environment: str) -> str:
    """Run one test of a driver and return what it printed."""
    names = ("FLAMBEAU_NUM_THREADS", "OMP_NUM_THREADS", "FLAMBEAU_CACHE_BYTES")
    clean = {key: value for key, value in os.environ.items() if key not in names}
    done = subprocess.run(
        [program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=clean | environment,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


# ---- thread pool

POOL_TESTS = [
    "ranges",
    "limit",
    "bounds",
    "really_parallel",
    "nested",
    "many_callers",
    "resize_while_running",
    "oversubscribed",
]


@pytest.mark.parametrize("test", POOL_TESTS)
def test_pool(builder: Builder, test: str) -> None:
    drive(builder.build("pool", "-O2"), test)


@pytest.mark.parametrize("test", [name for name in POOL_TESTS if name != "oversubscribed"])
def test_pool_has_no_data_races(builder: Builder, test: str) -> None:
    drive(builder.build("pool", *THREADS), test)


PLACEMENT_TESTS = [
    "workers_leave_the_callers_processor",
    "a_bound_caller_moves_nobody",
    "a_waiting_caller_gives_its_processor",
    "a_mask_set_by_others_is_obeyed",
]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="workers are placed on Linux only")
@pytest.mark.parametrize("flags", [("-O2",), THREADS], ids=["plain", "sanitized"])
@pytest.mark.parametrize("test", PLACEMENT_TESTS)
def test_placement_of_workers(builder: Builder, test: str, flags: tuple[str, ...]) -> None:
    drive(builder.build("pool", *flags), test)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks on this system")
@pytest.mark.parametrize("test", ["ranges", "many_callers", "nested", *PLACEMENT_TESTS])
def test_pool_on_one_processor(builder: Builder, test: str) -> None:
    program, before = builder.build("pool", "-O2"), os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        drive(program, test)
    finally:
        os.sched_setaffinity(0, before)


# Sanitizers hold locks of their own across fork, so these two run without.
def test_pool_works_in_a_forked_child(builder: Builder) -> None:
    drive(builder.build("pool", "-O2"), "fork")


def test_idle_pool_burns_no_cpu(builder: Builder) -> None:
    drive(builder.build("pool", "-O2"), "idle_burns_nothing")


def test_default_number_of_threads(builder: Builder) -> None:
    program = builder.build("pool", "-O2")
    drive(program, "default_threads", 1, FLAMBEAU_NUM_THREADS="1")
    drive(program, "default_threads", 1, OMP_NUM_THREADS="1")
    drive(program, "default_threads", 1, OMP_NUM_THREADS="1,4")
    drive(program, "default_threads", 1, FLAMBEAU_NUM_THREADS="1", OMP_NUM_THREADS="2")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks on this system")
def test_default_follows_the_affinity_mask(builder: Builder) -> None:
    program, before = builder.build("pool", "-O2"), os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        drive(program, "default_threads", 1)
        drive(program, "default_threads", 1, FLAMBEAU_NUM_THREADS="7")
    finally:
        os.sched_setaffinity(0, before)


# ---- allocator

ALLOCATOR_TESTS = [
    "alignment",
    "size_classes",
    "reuse",
    "no_overlap",
    "impossible_sizes",
    "total_is_bounded",
    "statistics",
    "threads",
    "fork",
]


@pytest.mark.parametrize("test", ALLOCATOR_TESTS)
def test_allocator(builder: Builder, test: str) -> None:
    drive(builder.build("allocator", "-O2"), test)


@pytest.mark.parametrize("test", ["no_overlap", "statistics", "threads"])
def test_allocator_under_the_thread_sanitizer(builder: Builder, test: str) -> None:
    drive(builder.build("allocator", *THREADS), test)


def test_kept_bytes_are_bounded(builder: Builder) -> None:
    drive(builder.build("allocator", "-O2"), "bound", FLAMBEAU_CACHE_BYTES=str(32 << 20))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and RLIMIT_AS")
def test_cache_is_given_back_under_pressure(builder: Builder) -> None:
    drive(builder.build("allocator", "-O2"), "pressure")


def test_small_blocks_cost_nanoseconds(builder: Builder) -> None:
    lines = drive(builder.build("allocator", "-O2"), "speed").splitlines()
    pairs = dict(line.split() for line in lines if line[0].isdigit())
    # 5 ns where measured; the margin is for machines that are slow or shared.
    assert float(pairs["40"]) < 50
    assert float(pairs["1000000"]) < 100


# ---- loader

MODULE = """
@numbers = private unnamed_addr constant [8 x double] [double 1.0, double -2.0, double 0.5,
  double 4.0, double -5.0, double 6.0, double 0.25, double 8.0]
@calls = global i64 5
@zeros = global [512 x i64] zeroinitializer
@table = constant [2 x ptr] [ptr @kernel, ptr @numbers]
declare double @exp(double)
declare double @triple_it(double)

define internal double @helper(double %x) noinline {
  %y = fmul double %x, 3.25
  ret double %y
}
define void @kernel(ptr %args, ptr %desc, i64 %begin, i64 %end, i64 %thread) {
  %out = load ptr, ptr %args
  %slot = getelementptr [8 x double], ptr @numbers, i64 0, i64 %begin
  %x = load double, ptr %slot
  %scaled = call double @helper(double %x)
  %e = call double @exp(double %scaled)
  store double %e, ptr %out
  %old = load i64, ptr @calls
  %new = add i64 %old, 1
  store i64 %new, ptr @calls
  ret void
}
define ptr @address_of_exp() { ret ptr @exp }
define double @call_registered(double %x) {
  %y = call double @triple_it(double %x)
  %z = fadd double %y, 1.0
  ret double %z
}
define i32 @choose(i32 %i) {
  switch i32 %i, label %other [ i32 0, label %a  i32 1, label %b  i32 2, label %c  i32 3, label %d ]
a: ret i32 10
b: ret i32 77
c: ret i32 33
d: ret i32 99
other: ret i32 -1
}
"""
NUMBERS = [1.0, -2.0, 0.5, 4.0, -5.0, 6.0, 0.25, 8.0]
HOST = "aarch64" if platform.machine().lower() in ("aarch64", "arm64") else "x86_64"
FOREIGN = {"aarch64": "x86_64", "x86_64": "aarch64"}[HOST]


def emit(architecture: str, code_model: str = "small", reloc: str = "pic") -> bytes:
    """Object code of MODULE."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    target = binding.Target.from_triple(f"{architecture}-unknown-linux-elf")
    machine = target.create_target_machine(opt=2, reloc=reloc, codemodel=code_model)
    module = binding.parse_assembly(MODULE)
    module.triple = f"{architecture}-unknown-linux-elf"
    return machine.emit_object(module)


@pytest.fixture(scope="session")
def loader(builder: Builder) -> Path:
    return builder.build("loader", *MEMORY)


@pytest.mark.parametrize("code_model", ["small", "large"])
def test_loaded_code_runs(loader: Path, tmp_path: Path, code_model: str) -> None:
    if (HOST, code_model) == ("aarch64", "large"):
        pytest.skip("LLVM's large code model on AArch64 is for static code")
    path = tmp_path / "module.o"
    path.write_bytes(emit(HOST, code_model))
    lines = [line.split() for line in drive(loader, "run", path).splitlines()]
    kernel = {int(words[1]): float(words[2]) for words in lines if words[0] == "kernel"}
    assert kernel == {i: math.exp(3.25 * x) for i, x in enumerate(NUMBERS)}
    choices = {int(words[1]): int(words[2]) for words in lines if words[0] == "choose"}
    assert choices == {-1: -1, 0: 10, 1: 77, 2: 33, 3: 99, 4: -1}
    rest = {words[0]: float(words[1]) for words in lines if len(words) == 2}
    expected = {"address": math.e, "registered": 8.5, "calls": 13, "zeros": 0, "table": 1}
    assert rest == expected


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/maps")
def test_no_page_is_writable_and_executable(loader: Path, tmp_path: Path) -> None:
    path = tmp_path / "module.o"
    path.write_bytes(emit(HOST))
    code, data, *maps = drive(loader, "permissions", path).splitlines()

    def access(address: str) -> str:
        for line in maps:
            span, flags = line.split()[:2]
            low, high = (int(end, 16) for end in span.split("-"))
            if low <= int(address, 16) < high:
                return flags
        raise AssertionError(f"{address} is not mapped")

    assert access(code.split()[1]) == "r-xp"
    assert access(data.split()[1]) == "rw-p"


def test_aarch64_relocations_encode_as_the_assembler_does(loader: Path) -> None:
    drive(loader, "encodings")


class Image:
    """A relocated object as the driver dumped it, with a decoder for AArch64 addresses."""

    def __init__(self, dump: str) -> None:
        self.symbols: dict[str, int] = {}
        self.externals: dict[str, int] = {}
        for line in dump.splitlines():
            kind, *rest = line.split()
            if kind == "base":
                self.base = int(rest[0])
            elif kind == "memory":
                self.memory = bytes.fromhex(rest[0])
            else:
                (self.symbols if kind == "symbol" else self.externals)[rest[0]] = int(rest[1])

    def read(self, layout: str, address: int) -> int | float:
        return struct.unpack_from(layout, self.memory, address - self.base)[0]

    def branch_target(self, place: int) -> int:
        distance = self.read("<I", place) & 0x3FFFFFF
        return place + 4 * (distance - (distance >> 25 << 26))

    def page(self, place: int) -> int:
        word = self.read("<I", place)
        assert word & 0x9F000000 == 0x90000000, "not an adrp"
        pages = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
        return (place & ~0xFFF) + 4096 * (pages - (pages >> 20 << 21))

    def low(self, place: int) -> int:
        return self.read("<I", place) >> 10 & 0xFFF

    def callee(self, target: int) -> int:
        """Where a branch ends: at target, or where the stub at target jumps to."""
        if not 0 <= target - self.base < len(self.memory):
            return target
        return self.follow_stub(target)

    def follow_stub(self, stub: int) -> int:
        assert self.read("<I", stub) == 0x58000050, "ldr x16, .+8"
        assert self.read("<I", stub + 4) == 0xD61F0200, "br x16"
        return self.read("<Q", stub + 8)


def text_relocations(data: bytes) -> list[tuple[int, int]]:
    """(offset, type) of every relocation of the first executable section."""
    (start,) = struct.unpack_from("<Q", data, 40)
    (count,) = struct.unpack_from("<H", data, 60)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, start + 64 * i) for i in range(count)]
    text = next(i for i, section in enumerate(sections) if section[2] & 4 and section[5])
    table = next(s for s in sections if s[1] == 4 and s[7] == text)
    records = struct.iter_unpack("<QQq", data[table[4] : table[4] + table[5]])
    return [(offset, info & 0xFFFFFFFF) for offset, info, _ in records]


def test_aarch64_object_is_relocated(loader: Path, tmp_path: Path) -> None:
    path = tmp_path / "module.o"
    path.write_bytes(emit("aarch64"))
    image = Image(drive(loader, "dump", path))
    calls, pages, got = [], [], []
    for offset, kind in text_relocations(path.read_bytes()):
        place = image.base + offset  # the code comes first in the image
        if kind in (282, 283):
            calls.append(image.branch_target(place))
        elif kind == 275:
            pages.append(image.page(place) + image.low(place + 4))
        elif kind == 311:
            got.append(image.page(place) + 8 * image.low(place + 4))
    assert {image.callee(target) for target in calls} == {
        image.externals["exp"],
        image.externals["triple_it"],
    }
    assert any([image.read("<d", at + 8 * i) for i in range(8)] == NUMBERS for at in pages)
    entries = {image.read("<Q", at) for at in got}
    assert entries == {image.externals["exp"], image.symbols["calls"]}
    assert image.read("<Q", image.symbols["table"]) == image.symbols["kernel"]
    assert image.read("<q", image.symbols["calls"]) == 5


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_damaged_objects_never_crash(loader: Path, tmp_path: Path, architecture: str) -> None:
    path = tmp_path / "module.o"
    path.write_bytes(emit(architecture))
    assert "fuzzed 3000" in drive(loader, "fuzz", path, 3000)


def with_field(data: bytes, layout: str, offset: int, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(layout, changed, offset, value)
    return bytes(changed)


DAMAGE = {
    "empty": (lambda good: b"", "truncated: header"),
    "text": (lambda good: b"#!/bin/sh\n" * 10, "not ELF64"),
    "cut short": (lambda good: good[: len(good) // 2], "truncated: section table"),
    "other machine": (lambda good: emit(FOREIGN), "clear the kernel cache"),
    "executable": (lambda good: with_field(good, "<H", 16, 2), "not a relocatable file"),
    "far table": (lambda good: with_field(good, "<Q", 40, 2**64 - 64), "truncated: section table"),
    "unknown external": (lambda good: good.replace(b"triple_it", b"nobody_is"), "'nobody_is'"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_refused_with_a_reason(loader: Path, tmp_path: Path, name: str) -> None:
    damage, reason = DAMAGE[name]
    path = tmp_path / "bad.o"
    path.write_bytes(damage(emit(HOST)))
    message = drive(loader, "refuse", path)
    assert message.startswith("object code: ")
    assert reason in message


@pytest.mark.skipif(HOST != "x86_64", reason="static code has 32-bit addresses on x86-64 only")
def test_static_code_is_refused_with_the_fix(loader: Path, tmp_path: Path) -> None:
    path = tmp_path / "static.o"
    path.write_bytes(emit(HOST, reloc="static").replace(b"triple_it", b"copysignf"))
    assert "emit position-independent code" in drive(loader, "refuse", path)


def test_loading_costs_microseconds(builder: Builder, tmp_path: Path) -> None:
    path = tmp_path / "module.o"
    path.write_bytes(emit(HOST))
    # 15 us where measured, most of it mapping and unmapping; a JIT linker takes 200 to 300.
    assert float(drive(builder.build("loader", "-O2"), "speed", path)) < 150
