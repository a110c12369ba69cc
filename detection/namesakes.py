"""Names of several places: neighbours decide which is meant, as in "Paris, Texas"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from detection.clues import Candidate

_LIST_GOES_ON = re.compile(r"(?:,| and| or| &)\b|, ?[^\W\d_]")
_PLACES = ("country", "region", "city")
_PARTED = ("US", "US-HI", "CA", "CA-QC", "AU")  # countries whose states are written after their towns


def _is_state(candidate: Candidate, text: str) -> bool:
    """Tell whether a name is that of a state or province which is written after its towns, and ends a list of names."""
    states = candidate.kind == "region" and candidate.senses[0].culture in _PARTED
    return states and not _LIST_GOES_ON.match(text, candidate.end)


def settled(candidates: Sequence[Candidate], text: str) -> list[Candidate]:
    """Let neighbours decide what is open: "Paris, Texas" is in the second's country, and so are likelier namesakes."""
    found = list(candidates)
    for i in range(len(found) - 1):
        first, second = found[i], found[i + 1]
        if text[first.end : second.start] in (", ", ",", " ") and first.kind in _PLACES:
            if first.kind == "country" and second.kind != "country" and text[first.end : second.start] == " ":
                continue
            own = [sense for sense in first.senses if any(sense.culture == other.culture for other in second.senses)]
            if own:
                only = tuple(sense for sense in second.senses if sense.culture == own[0].culture)
                found[i], found[i + 1] = (
                    replace(first, senses=(replace(own[0], chance=0.9),)),
                    replace(second, senses=only),
                )
            elif first.kind in ("city", "region") and _is_state(second, text):
                found[i] = replace(first, senses=(replace(first.senses[0], culture=second.senses[0].culture),))
    said = {candidate.senses[0].culture for candidate in found if len(candidate.senses) == 1}
    return [
        replace(candidate, senses=tuple(sorted(candidate.senses, key=lambda s: (s.culture not in said, -s.chance))))
        if len(candidate.senses) > 1 and said and candidate.kind not in ("country", "cue")
        else candidate
        for candidate in found
    ]
