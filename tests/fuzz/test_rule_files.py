"""Whatever stands in a rule file, loading ends in rules or in faults, and what was loaded can be evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector import shipped
from detector.ruleset.load import load_rules
from detector.store.engine import writing
from tests.builders import Recorder, count, observe
from tests.fuzz.rule_files import BROKEN, DISABLED, OWN, TOKENS
from tests.ruleset.writing import write_list

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Engine


def _texts(folder: Path) -> tuple[str, ...]:
    return tuple(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yml")))


_SHIPPED = _texts(shipped.folder("rules"))
_TOKENS = st.sampled_from([*(token.decode() for token in TOKENS), "\0", "\x07", "\ud7ff"])

_LINE_BREAKS = "\r\n\x85\u2028\u2029"  # as YAML 1.1 sees them


_SOURCES = (*_SHIPPED, OWN, *_texts(BROKEN))


@st.composite
def _mutated(draw: st.DrawFn, *sources: str) -> str:
    text: str = draw(st.sampled_from(sources))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from((0, 1, 2, 5, 20, 80))))
        piece = draw(_TOKENS | st.text(max_size=5) | st.just(text[start:end] * 2) | st.just(""))
        text = text[:start] + piece + text[end:]
    return text


_ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70_000) | st.floats() | st.dates() | _TOKENS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TOKENS | st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@st.composite
def _misshapen(draw: st.DrawFn, *sources: str) -> str:
    """A sound file in which values have been replaced by others of any type."""
    documents: list[Any] = list(yaml.safe_load_all(draw(st.sampled_from(sources))))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = documents[draw(st.integers(0, len(documents) - 1))]
        while isinstance(place, dict | list) and place:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys))
            if draw(st.booleans()) or not isinstance(place[key], dict | list):
                place[key] = draw(_ODD)
                break
            place = place[key]
    return yaml.safe_dump_all(documents, allow_unicode=True)


@settings(max_examples=600, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=_mutated(*_SOURCES) | _misshapen(*_SHIPPED) | _misshapen(OWN) | st.text(max_size=200))
def test_no_text_ends_in_a_traceback(sqlite_engine: Engine, tmp_path: Path, text: str) -> None:
    """A mutated rule file gives rules or faults with a line of the file; rules that load also run."""
    path = tmp_path / "rule.yml"
    write_list(tmp_path, "sound", "root", "alice")
    write_list(tmp_path, "offices", "10.0.0.0/8")
    write_list(tmp_path, "odd-ports", "22", "6000-6063")
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    loaded = load_rules([tmp_path])
    assert bool(loaded.ruleset.rules) != bool(loaded.faults)
    for fault in loaded.faults:
        assert fault.path == str(path)
        assert 1 <= fault.line <= 1 + sum(text.count(each) for each in _LINE_BREAKS)
        assert fault.message.isprintable()
    if loaded.ruleset.rules:
        ref = Recorder(sqlite_engine).snapshot(count(), count(None, None, protocol="packet"))
        observe(sqlite_engine, ref)
        with writing(sqlite_engine) as connection:
            loaded.ruleset.prepare(connection)
            loaded.ruleset.evaluate(connection, ref)


@settings(max_examples=200, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=_mutated(DISABLED) | _misshapen(DISABLED) | st.text(max_size=50))
def test_no_list_of_disabled_rules_ends_in_a_traceback(tmp_path: Path, text: str) -> None:
    """It disables rules or has faults, each with a line of the file; the rules are there in any case."""
    path = tmp_path / "disabled.yml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    (tmp_path / "rule.yml").write_text(OWN)
    loaded = load_rules([tmp_path])
    assert len(loaded.ruleset.rules) == 1
    for fault in loaded.faults:
        assert fault.path == str(path)
        assert fault.message.isprintable()
    if loaded.faults:
        assert all(rule.disabled is None for rule in loaded.ruleset.rules)
