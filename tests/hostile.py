"""Names as attackers choose them."""

from __future__ import annotations

from hypothesis import strategies as st

NAMES = (
    "<!channel>",
    "<!here|now>",
    "<@U123456>",
    "<https://evil.example|click>",
    "*bold* _italic_ ~gone~ `code`",
    "</b><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a\r\nBcc: everyone@example.com\r\n\r\nforged body",
    "line\nbreak\ttab\x0bvertical\x0cform\x85next\u2028line\u2029paragraph",
    "\x1b[2J\x1b]0;title\x07",
    "\x9b31m",
    "/usr/bin/\u202egpj.hcet",
    "zero\u200bwidth\u2060joiner\ufeff",
    "soft\u00adhyphen and\u00a0blank",
    "\udc80lone surrogate",
    "/usr/bin/ssh, made 1 connect to 10.0.0.1:22. Nothing unusual",
    "=cmd|' /C calc'!A0",
    "&amp;lt;already escaped&amp;gt;",
    "%0d%0aSubject: forged",
    "=?utf-8?q?encoded_word?=",
    "x" * 5000,
    "",
    " ",
    "日本語/прог",
)

# All of Unicode, the parts that harm more often.
TEXT = st.one_of(
    st.sampled_from(NAMES),
    st.text(alphabet=st.characters(), max_size=60),
    st.text(alphabet="<>&*_`~|@!#\\\"'\r\n\t\x1b\u202e\u2066 abc", max_size=60),
)
