"""The `flambeau` command: run PyTorch scripts, show the installation, look after the kernel cache.

    flambeau run script.py [args]      run an unmodified PyTorch script on Flambeau
    flambeau run -m package.module     the same for a module, as `python -m`
    flambeau info                      version, processor, threads, cache, size of dependencies
    flambeau cache show|warm|clear     the machine code kept between runs
    flambeau warm [script.py]          compile the common kernels, and those of a script, now

Importing this module is cheap: everything a command needs is imported when the command runs.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from importlib.metadata import Distribution
    from types import CodeType, TracebackType

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the `flambeau` command and return its exit status.

    `argv` are the arguments after the program's name, those of this process by default.

    >>> main(["cache"])
    Traceback (most recent call last):
    SystemExit: 2
    """
    arguments = build_parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="flambeau",
        description="Tensors, autograd and neural networks with PyTorch's API.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_run_command(commands)
    info = commands.add_parser("info", help="show version, processor, threads, cache and sizes")
    info.set_defaults(command=lambda arguments: show_info())
    add_cache_command(commands)
    return parser


def add_run_command(commands: argparse._SubParsersAction) -> None:
    """Describe `flambeau run`."""
    import argparse

    run = commands.add_parser(
        "run",
        help="run an unmodified PyTorch script",
        usage="flambeau run [-h] (SCRIPT | -m MODULE) [ARGS ...]",
        description="Run a Python script in which torch and torchvision are Flambeau. "
        "Arguments after the script are the script's own.",
        epilog="Examples: flambeau run train.py --epochs 3; flambeau run -m project.train",
    )
    run.add_argument("-m", dest="is_module", action="store_true", help="SCRIPT is a module's name")
    run.add_argument("script", metavar="SCRIPT", help="file (or, after -m, module) to run")
    run.add_argument(
        "args", metavar="ARGS", nargs=argparse.REMAINDER, help="the script's arguments"
    )
    run.set_defaults(command=lambda a: run_program(a.script, a.args, is_module=a.is_module))


def add_cache_command(commands: argparse._SubParsersAction) -> None:
    """Describe `flambeau cache`."""
    cache = commands.add_parser("cache", help="show, warm or clear the kernel cache")
    actions = cache.add_subparsers(title="actions", required=True, metavar="ACTION")
    for action, function, text in (
        ("show", show_cache, "show where the cache is and what it holds"),
        ("clear", clear_cache, "delete all cached machine code"),
    ):
        actions.add_parser(action, help=text).set_defaults(command=lambda _, run=function: run())
    for parser in (actions, commands):  # `flambeau warm` for short
        add_warm_command(parser)


def add_warm_command(commands: argparse._SubParsersAction) -> None:
    """Describe `flambeau cache warm`."""
    warm = commands.add_parser(
        "warm",
        help="compile the common kernels now, so that first runs are fast",
        description="Compile the kernels that most programs need, and those of the given scripts, "
        "which are run.",
    )
    warm.add_argument(
        "scripts", metavar="SCRIPT", nargs="*", help="a script to run for its kernels"
    )
    warm.add_argument("--jobs", type=int, help="processes to compile in (one a processor)")
    warm.add_argument(
        "--package",
        action="store_true",
        help="keep them beside the installed package, for all users of this machine",
    )
    warm.set_defaults(command=lambda a: warm_cache(a.scripts, a.jobs, a.package))


# ---------------------------------------------------------------------------------------- run


def run_program(script: str, args: Sequence[str], *, is_module: bool = False) -> int:
    """Run a script or module as `__main__`, with torch and torchvision resolved to Flambeau."""
    from flambeau._compat import install

    install()
    sys.argv[:] = [script, *args]
    try:
        run_module(script) if is_module else run_script(script)
    except Exception as error:
        # The launcher's frames say nothing about the script: show the script's alone.
        error.__traceback__ = strip_launcher(error.__traceback__)
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def run_module(name: str) -> None:
    """Run a module as `python -m name` does: the current folder is first on the path."""
    import runpy

    from flambeau._compat import module_exists

    put_first_on_path(os.getcwd())
    if not module_exists(name):
        fail(f"No module named {name}")
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def run_script(path: str) -> None:
    """Run a file as `python file` does: its folder is first on the path, it is `__main__`."""
    import builtins
    import types
    from importlib.machinery import SourceFileLoader

    code = compile_script(path)
    put_first_on_path(os.path.dirname(os.path.realpath(path)))
    module = types.ModuleType("__main__")
    module.__file__ = path
    module.__loader__ = SourceFileLoader("__main__", path)
    module.__dict__["__builtins__"] = builtins
    # Not restored: exit handlers and threads may look for the script's names until the very end.
    sys.modules["__main__"] = module
    exec(code, module.__dict__)


def put_first_on_path(folder: str) -> None:
    """Replace the launcher's own folder on the module path, unless Python was told to have none."""
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = folder


def compile_script(path: str) -> CodeType:
    """Read and compile a script; a missing file ends the program as Python's own message does."""
    import io

    try:
        with io.open_code(os.path.abspath(path)) as file:
            source = file.read()
    except OSError as error:
        fail(f"can't open file {path!r}: [Errno {error.errno}] {error.strerror}")
    return compile(source, path, "exec", dont_inherit=True)


def fail(message: str) -> NoReturn:
    """End the program as Python does when there is nothing to run: exit status 2."""
    print(f"flambeau run: {message}", file=sys.stderr)
    sys.exit(2)


def strip_launcher(traceback: TracebackType | None) -> TracebackType | None:
    """Drop the frames above the program's own from a traceback."""
    launcher = {__file__, "<frozen runpy>"}
    while traceback and traceback.tb_frame.f_code.co_filename in launcher and traceback.tb_next:
        traceback = traceback.tb_next
    return traceback


# --------------------------------------------------------------------------------------- info


def show_info() -> int:
    """Print what a bug report needs: versions, processor, threads, cache, sizes."""
    import platform

    import flambeau

    cache = summarize_cache()
    rows = [
        ("flambeau", f"{flambeau.__version__} ({os.path.dirname(flambeau.__file__)})"),
        ("python", f"{platform.python_version()} {platform.python_implementation()}"),
        ("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("processor", describe_processor()),
        ("threads", f"{flambeau.get_num_threads()} of {os.cpu_count()} processors"),
        ("kernel cache", describe_cache(cache)),
        *((f"  {name}", size) for name, size in list_dependency_sizes()),
    ]
    print_table(rows)
    return 0


def print_table(rows: Sequence[tuple[str, str]]) -> None:
    """Print pairs of a name and its value in two columns."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def describe_processor() -> str:
    """Name the processor and the vector features the compiler uses."""
    import platform

    try:
        from llvmlite import binding
    except ImportError:
        return f"{platform.processor() or platform.machine()} (llvmlite is missing)"
    wanted = ("avx2", "fma", "avx512f", "avx512bf16", "neon", "sve")
    found = binding.get_host_cpu_features()
    features = [name for name in wanted if found.get(name)]
    return f"{binding.get_host_cpu_name()}, {' '.join(features) or 'no vector features'}"


def list_dependency_sizes() -> list[tuple[str, str]]:
    """Give version and size on disk of Flambeau and of each library it stands on."""
    from importlib import metadata

    import flambeau

    package = measure_folder(os.path.dirname(flambeau.__file__))
    sizes = [("flambeau", f"{flambeau.__version__}, {format_bytes(package)}")]
    for name in ("numpy", "llvmlite", "tqdm", "pillow"):
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            sizes.append((name, "not installed"))
            continue
        sizes.append((name, f"{distribution.version}, {format_bytes(measure(distribution))}"))
    return sizes


def measure(distribution: Distribution) -> int:
    """Add up the sizes in bytes of a distribution's files."""
    paths = (str(distribution.locate_file(file)) for file in distribution.files or ())
    return sum(os.path.getsize(path) for path in paths if os.path.isfile(path))


def measure_folder(folder: str) -> int:
    """Add up the sizes in bytes of the files below a folder."""
    walk = os.walk(folder)
    return sum(os.path.getsize(os.path.join(parent, f)) for parent, _, files in walk for f in files)


def format_bytes(count: int) -> str:
    """Write a number of bytes for people.

    >>> format_bytes(512), format_bytes(20_500_000)
    ('512 B', '20.5 MB')
    """
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


# -------------------------------------------------------------------------------------- cache


def summarize_cache() -> dict[str, Any]:
    """Ask the kernel cache for its folder, number of entries and size in bytes."""
    from flambeau.kernels import cache

    return cache.summary()


def describe_cache(summary: dict[str, Any]) -> str:
    """Write the summary of the kernel cache in one line."""
    size = format_bytes(summary["bytes"])
    return f"{summary['folder']}: {summary['objects']} objects of machine code, {size}"


def show_cache() -> int:
    """Print where the kernel cache is and what it holds."""
    print(describe_cache(summarize_cache()))
    return 0


def warm_cache(scripts: Sequence[str] = (), jobs: int | None = None, package: bool = False) -> int:
    """Compile the common kernels and those of the scripts, with a progress bar."""
    from tqdm import tqdm

    from flambeau.kernels import cache
    from flambeau.utils import warming

    with tqdm(desc="compiling kernels", unit="step", dynamic_ncols=True) as bar:

        def report(done: int, total: int, name: str = "") -> None:
            bar.total = total
            bar.set_postfix_str(name, refresh=False)
            bar.update(done - bar.n)

        try:
            if package:
                place = warming.warm_package(report, scripts, jobs)
            else:
                warming.warm(report, scripts, jobs)
                place = cache.folder()
        except (OSError, RuntimeError) as error:
            print(f"flambeau warm: {error}", file=sys.stderr)
            return 1
    print(describe_cache(cache.measure(place)))
    return 0


def clear_cache() -> int:
    """Delete the cached machine code and say how much room that gave back."""
    from flambeau.kernels import cache

    before = summarize_cache()
    count = cache.clear()
    size = format_bytes(before["bytes"])
    print(f"removed {count} files ({size}) from {before['folder']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
