"""Checks whose removal no test can notice: the script, the line, what becomes of it, and why."""

from __future__ import annotations

HARMLESS: dict[tuple[str, str, str], str] = {
    ("_state", "elseif ttl == 0 and now[2] then", "elseif ttl == 0 then"): (
        "there is no time to live then: it only saves two commands"
    ),
    ("claim", "if ARGV[wants + 1] then", "if true then"): (
        "there are no reports then: it only saves setting up what they need"
    ),
}
