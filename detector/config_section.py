"""What all sections of the configuration have in common."""

from __future__ import annotations

import msgspec


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all sections: unknown keys are refused."""

    def __repr__(self) -> str:
        """Shows no `url`: it may hold a password or a token, and this text may end in a log or a traceback."""
        shown = {key: getattr(self, key) for key in self.__struct_fields__}
        if shown.get("url"):
            shown["url"] = "(secret)"
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in shown.items())})"
