"""Messages of our own making: 20 to 60 tokens, no two alike, each about one described country, or about none."""

from __future__ import annotations

import random
from collections.abc import Iterator

PLACES = {
    "DE": ("Germany", "Munich", "Hamburg"),
    "ET": ("Ethiopia", "Addis Ababa"),
    "IN": ("India", "Mumbai", "Chennai"),
    "JP": ("Japan", "Osaka", "Kyoto"),
    "MX": ("Mexico", "Guadalajara"),
    "NG": ("Nigeria", "Lagos", "Kano"),
    "SA": ("Saudi Arabia", "Riyadh", "Jeddah"),
    "TH": ("Thailand", "Bangkok"),
    "TR": ("Turkey", "Istanbul", "Ankara"),
}
_OCCASIONS = (
    "a family dinner", "a wedding", "a business lunch", "a funeral", "a birthday", "a first visit to a home",
    "a holiday meal", "an afternoon tea", "a first meeting with a customer", "a naming ceremony", "a farewell party",
    "a visit to a place of worship",
)  # fmt: skip
_COMPANY = (
    "my new colleagues", "the parents of a friend", "a customer", "the head of the team", "our neighbours",
    "an elderly host", "two teachers", "a family with small children", "an old friend", "people whom I have never met",
)  # fmt: skip
_WISHES = (
    "which gift is welcome and which one is better left out", "how to greet everyone without seeming cold",
    "what to wear and what to avoid", "when to arrive and when it is polite to leave",
    "how to turn down a second helping kindly", "which subjects are better not brought up at the table",
    "whether shoes come off at the door", "how to thank the hosts afterwards", "where to sit and who speaks first",
    "whether to bring flowers or something sweet", "how to pass a business card", "who pays, and how to offer it",
)  # fmt: skip
_WORRIES = (
    "I would hate to embarrass anyone", "nobody has told me much so far", "there is little time to prepare",
    "I do not eat meat", "I speak only a few words of the language", "my partner comes along",
    "my last visit went badly", "I am usually too early",
)  # fmt: skip
_FORMS = (
    "I go to {occasion}{where} on {day} at {hour}, with {company}. What should I know?",
    "Please tell me {wish} at {occasion}{where} with {company}; it is on {day} at {hour}.",
    "{Worry}, and on {day} at {hour} I go to {occasion}{where} to meet {company}. Could you explain {wish}?",
    "On {day} there is {occasion}{where}, and {company} will be there from {hour} on. I wonder {wish}. {Worry}.",
    "What should I know before {occasion}{where}? It is on {day} at {hour}, with {company}. "
    "Tell me {wish}, and {other}.",
)
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "September", "October", "December")


def texts(seed: int, *, cultural: bool) -> Iterator[str]:
    """Give messages without end, no two of them alike; the same for the same seed.

    Args:
        cultural: each names a country or a city; else none does.
    """
    chance = random.Random(seed)  # noqa: S311 - seeded, so that runs send the same messages
    seen: set[str] = set()
    while True:
        text = _text(chance, cultural)
        if text not in seen:
            seen.add(text)
            yield text


def _text(chance: random.Random, cultural: bool) -> str:
    place = chance.choice(PLACES[chance.choice(sorted(PLACES))]) if cultural else ""
    wish, other = chance.sample(_WISHES, 2)
    worry = chance.choice(_WORRIES)
    return chance.choice(_FORMS).format(
        occasion=chance.choice(_OCCASIONS),
        where=f" in {place}" if place else "",
        company=chance.choice(_COMPANY),
        day=f"{chance.randint(1, 28)} {chance.choice(_MONTHS)}",
        hour=f"{chance.randint(8, 21)}:{chance.choice((0, 15, 30, 45)):02}",
        wish=wish,
        other=other,
        worry=worry,
        Worry=worry[0].upper() + worry[1:],
    )
