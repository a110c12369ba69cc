"""What a message is about where its words name no culture, or leave it open between several: nearest descriptions vote.

An encoder is asked only where it may help: most messages are decided by words, and of the rest few tell of people.
"""

from __future__ import annotations

import re
from dataclasses import replace

from detection import clues
from detection.vocabulary import CLASSES
from retrieval.search import Vote
from service.turn import Detection, Evidence, Found

# Where the first is at least this near and has this share of the vote; docs/evaluation.md has the curve.
NEAR, SHARE = 0.6, 0.7
CONFIDENCE = 0.5  # how often such a vote is right, or hardly less
_WORDS = 8  # a message of fewer says too little
_SOCIAL = frozenset({"kin", "person", "event", "society", "food"})
_CODE = re.compile(r"```|[{};=<>]{2}|\b(?:def|class|import|return|SELECT|function)\b.*[(:;]")
_WORD = re.compile(r"[a-z]+(?:['-][a-z]+)*")


def worth(detection: Detection, text: str) -> bool:
    """Tell whether the nearest descriptions should be asked: an English text on people, no code, no culture named.

    The encoder that comes with Comity reads English.
    """
    if open_between(detection):
        return True
    if detection.abstained != "no_evidence" or _CODE.search(text) or not clues.is_english(text):
        return False
    words = _WORD.findall(text.lower())
    return len(words) >= _WORDS and any(CLASSES.get(word) in _SOCIAL for word in words)


def open_between(detection: Detection) -> tuple[str, ...]:
    """Give the cultures that have nothing but the same customs for them, two at least and the first among them."""
    if not detection.found or detection.found[0].evidence[0].kind != "cue":
        return ()
    first = detection.found[0]
    same = tuple(found.culture for found in detection.found if found.evidence == first.evidence)
    return same if len(same) > 1 else ()


def told(detection: Detection, votes: tuple[Vote, ...], text: str, message: int) -> Detection:
    """Give a detection after the vote: the first of several put first, or one found where words found none.

    Args:
        votes: by share, the largest first; only for the cultures in question where there are such.
        text: what was voted on, the user's message at this place in the conversation.
    """
    if not votes:
        return detection
    if tied := open_between(detection):
        rank = {vote.culture: place for place, vote in enumerate(votes)}
        order = sorted(
            (found for found in detection.found if found.culture in tied),
            key=lambda found: rank.get(found.culture, len(rank)),
        )
        rest = tuple(found for found in detection.found if found.culture not in tied)
        most = max(found.confidence for found in order)
        return replace(detection, found=(replace(order[0], confidence=most), *order[1:], *rest))
    best = votes[0]
    if best.score < NEAR or best.share < SHARE:
        return detection
    evidence = Evidence("meaning", best.description_id, 0, len(text), message)
    return Detection((Found(best.culture, "setting", CONFIDENCE, (evidence,)),))
