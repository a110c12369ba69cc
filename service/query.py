"""What a conversation asks the index: its last message, and as much of what was asked before as that needs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from retrieval import words
from service.turn import Message

_CHARS = 1_000  # about as much as the default encoder reads: what is beyond would be cut off at the end
_BEFORE = 400  # of each earlier message
_ENOUGH = 5  # words with a meaning from which a message speaks for itself


def query(messages: Sequence[Message]) -> str:
    """Give the text to search with: the user's last message, after earlier ones of theirs while it says little itself.

    "And for a woman?" means nothing alone. Of a long text the beginning and the end are kept, where questions stand.
    """
    asked = [message.text.strip() for message in messages if message.role == "user" and message.text.strip()]
    if not asked:
        return ""
    found = cut(asked[-1])
    for before in asked[-2:-4:-1]:
        if len(list(islice(words.tokens(found), _ENOUGH))) >= _ENOUGH:
            break
        found = f"{cut(before, _BEFORE)}\n{found}"
    return found


def cut(text: str, most: int = _CHARS) -> str:
    """Give the beginning and the end of a text, as much as is looked up."""
    return text if len(text) <= most else f"{text[: most // 2 - 1]}\n{text[-most // 2 :]}"
