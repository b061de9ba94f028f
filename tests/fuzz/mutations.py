"""Examples, changed a little: what gets past the first check of a parser, and is wrong all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from tests.fuzz.harness import Surface

_LENGTHS = (0, 0, 1, 2, 5, 20, 80, 1000)
_BYTES = (
    b"\0",
    b"\n",
    b"\x1b]0;x\x07",
    b"\xff\xfe",
    b"\xed\xb3\xbf",
    "\u202e".encode(),
    b"9" * 5000,
    b"{" * 2000,
    b"'",
    b"-1",
)


@st.composite
def mutated(draw: st.DrawFn, surface: Surface) -> bytes:
    """One of a surface's examples, in which some pieces were replaced, doubled, moved or left out."""
    seeds = surface.seeds()
    data = draw(st.sampled_from(seeds))
    pieces = st.sampled_from((*surface.tokens, *_BYTES)) | st.binary(max_size=8)
    for _ in range(draw(st.integers(0, 5))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from(_LENGTHS)))
        other = draw(st.sampled_from(seeds))
        begin = draw(st.integers(0, len(other)))
        piece = draw(pieces | st.sampled_from((b"", data[start:end] * 2, other[begin : begin + 40])))
        data = data[:start] + piece + data[end:]
    return data
