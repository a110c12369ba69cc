"""Maps the topics and headings of others to the closed list of topics; what fits none of them is `other`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from index.importers.names import fold
from index.knowledge import TOPICS

OTHER = "other"
_GENERAL = "public_behaviour"  # its words stand beside those of others ("table manners"), and yield to them
_WORDS = {
    "greetings": "greet greeting greetings handshake handshakes introduction introductions",
    "dining": "alcohol cuisine dine dining drink drinking drinks eat eating food meal meals restaurant restaurants "
    "table toast toasting toasts",
    "gifts": "gift gifts",
    "dress": "attire clothes clothing dress fashion",
    "gestures": "body gesture gestures hands pointing",
    "religion": "faith prayer prayers religion religions religious worship",
    "family": "children elders families family household parents",
    "business": "business meetings negotiation negotiations office work workplace",
    "holidays": "celebration celebrations festival festivals holiday holidays",
    "mourning": "burial burials condolence condolences death funeral funerals mourning",
    "hospitality": "guest guests host hosting hosts hospitality visiting visits",
    "communication": "communication conversation conversations language speech talk",
    "taboos": "superstition superstitions taboo taboos",
    "public_behaviour": "behavior behaviour etiquette manners public queues tipping",
    "weddings": "bride marriage marriages wedding weddings",
}
_BY_NAME = {fold(topic): topic for topic in (*TOPICS, OTHER)}
_BY_WORD = {word: topic for topic, words in _WORDS.items() for word in words.split()}
_WHOLE = {"body language": "gestures", "relationships and marriage": "family", "religious dietary laws": "dining"}


def find(texts: Iterable[str], given: Mapping[str, str]) -> str:
    """Give the topic of the first text that has one: as given, by its name, or by its only topic's words; else `other`.

    Args:
        given: topics by folded text, as an operator's map says them; `*` stands for every text that has none.
    """
    for text in texts:
        folded = fold(text)
        topic = given.get(folded) or _BY_NAME.get(folded) or _WHOLE.get(folded) or _by_words(folded)
        if topic:
            return topic
    return given.get("*", OTHER)


def _by_words(folded: str) -> str | None:
    found = {_BY_WORD[word] for word in folded.split() if word in _BY_WORD}
    if len(found) > 1:
        found.discard(_GENERAL)
    return found.pop() if len(found) == 1 else None
