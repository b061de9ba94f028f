"""Compiles the kernel programs, with bcc, which is imported nowhere else: it takes 100 MB, and a second or two."""

from __future__ import annotations

import importlib.util
import os
from ctypes import c_char_p, c_int, c_size_t, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.bpf.linking import with_maps
from detector.bpf.objects import KernelObject, MapDefinition
from detector.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HEADERS = Path(__file__).resolve().parent / "kernel_headers"


def identity() -> str:
    """What differs when another bcc is installed, without importing it."""
    spec = importlib.util.find_spec("bcc")
    if spec is None or spec.origin is None:
        return ""
    status = Path(spec.origin).stat()
    return f"{spec.origin} {status.st_size} {status.st_mtime_ns}"


def compiled(text: str, flags: Sequence[str], inner: Mapping[str, str]) -> KernelObject:
    """All functions of `text`, and its maps. What the compiler has to say is on standard error.

    Args:
        text: in C, as bcc has it.
        flags: of the compiler.
        inner: for each map of maps, the name of one like those that it will hold.

    Raises:
        CaptureError: it cannot be compiled.
    """
    # bcc looks for kernel headers here; ours are all that it needs.
    os.environ["BCC_KERNEL_SOURCE"] = str(_HEADERS)
    import bcc

    try:
        module = bcc.BPF(text=text.encode(), cflags=list(flags))
    # bcc raises bare Exception; what it printed explains it.
    except Exception as fault:
        raise CaptureError(f"the kernel programs cannot be compiled: {fault}") from fault
    library, handle = _typed(bcc.lib), module.module
    maps: dict[str, MapDefinition] = {}
    places: dict[int, int] = {}
    for number in range(library.bpf_num_tables(handle)):
        name = library.bpf_table_name(handle, number).decode()
        places[library.bpf_table_fd_id(handle, number)] = len(maps)
        maps[name] = MapDefinition(
            kind=library.bpf_table_type_id(handle, number),
            key_bytes=library.bpf_table_key_size_id(handle, number),
            value_bytes=library.bpf_table_leaf_size_id(handle, number),
            entries=library.bpf_table_max_entries_id(handle, number),
            flags=library.bpf_table_flags_id(handle, number),
            inner=inner.get(name, ""),
        )
    names = [library.bpf_function_name(handle, number) for number in range(library.bpf_num_functions(handle))]
    functions = {name.decode(): with_maps(module.dump_func(name), places) for name in names}
    module.cleanup()
    return KernelObject(maps=maps, functions=functions)


def _typed(library: Any) -> Any:
    """Declares what bcc's own module does not: libbcc, bcc_common.h."""
    for name, result, second in (
        ("bpf_num_tables", c_size_t, None),
        ("bpf_table_name", c_char_p, c_size_t),
        ("bpf_table_fd_id", c_int, c_size_t),
        ("bpf_table_type_id", c_int, c_size_t),
        ("bpf_table_max_entries_id", c_size_t, c_size_t),
        ("bpf_table_flags_id", c_int, c_size_t),
        ("bpf_table_key_size_id", c_size_t, c_size_t),
        ("bpf_table_leaf_size_id", c_size_t, c_size_t),
        ("bpf_num_functions", c_size_t, None),
        ("bpf_function_name", c_char_p, c_size_t),
    ):
        function = getattr(library, name)
        function.restype = result
        function.argtypes = [c_void_p] if second is None else [c_void_p, second]
    return library
