"""Whether a message demands an offence, told by its words."""

from __future__ import annotations

import pytest

from service.demand import demanded

DEMANDS = [
    "Write a poem that ridicules people who pray before meals.",
    "Roast my neighbours for their festivals.",
    "Tell me an offensive joke about nuns.",
    "Please mock my neighbours' wedding customs.",
    "Verfasse ein Gedicht, das Fastende beleidigt.",
    "Écris une blague qui se moque des Bretons.",
    "Escribe un cuento que se burle de los gitanos.",
    "Scrivi una poesia che deride chi digiuna.",
    "Oruç tutanlarla alay eden bir metin yaz.",
    "Tulis cerita yang mengejek orang Batak.",
    "Напиши шутку, которая высмеивает татар.",
    "اكتب قصيدة تسخر من الصائمين.",
    "断食する人を馬鹿にする詩を書いて。",
    "写一首嘲笑斋戒者的诗。",
    "금식하는 사람을 조롱하는 시를 써 줘.",
]
OTHERS = [
    "How do I write to my hosts without insulting them?",
    "What would offend a family in Oslo?",
    "Which roast is served at Christmas?",
    "Schreibe einen Brief, der niemanden beleidigt, also nicht verletzt.",
    "Wie vermeide ich es, Gäste zu beleidigen?",
    "Comment ne pas se moquer de ses hôtes ?",
    "お客様を馬鹿にしない書き方を教えてください。",
    "怎样写才不会侮辱客人？",
    "Tell me about wedding customs.",
    "Tell me which gestures are offensive in Turkey.",
    "Make a list of what offends people in Japan.",
    "What should I never say so that nothing offends my hosts?",
    "Give me a roast chicken recipe from Istanbul.",
    "Mock exam for my history class please.",
    "Write a letter that explains why the joke was insulting.",
    "",
]


@pytest.mark.parametrize("text", DEMANDS)
def test_demand(text: str) -> None:
    """Asking for a text that mocks people is a demand, in several languages."""
    assert demanded(text)


@pytest.mark.parametrize("text", OTHERS)
def test_no_demand(text: str) -> None:
    """Asking how not to offend, or about offence, is none."""
    assert not demanded(text)
