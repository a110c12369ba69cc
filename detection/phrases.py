"""Words that look like names and are none, or not always; English mostly. What stands around them tells the rest."""

from __future__ import annotations

from pathlib import Path

from detection.folding import words

# Ordinary words that are also names: weighed as such.
ORDINARY = words(
    """
    turkey china chad jordan georgia polish guinea mali niger oman jersey peru cuba panama java nice cork mobile
    reading bath togo palau dutch french swiss brazil nan of man central same best most split tours orange lens
    brits moor finish czech scotch danish angles roman wales lima surat salem kent dover victoria natal para leon
    male rome chile manila plains wake troy march sale
    batman corona marina mission hope faith grace sandy clay rocky bend ferry boulder buffalo corner ball cam pool
    essen halle regen bergen worms wien hell hof singen baden lage bar mira cara dar come gap pau vire agen foix
    padre madre santa casa rosa sol luna san los las del bella villa vera nova prato pero chiara santo mayo enter
    ist ela bola kota baru mana lama dia ini pasar batu bari deal bury sandwich barrow poole rugby slough battle
    hull deal ware crew goes taxi ela pune data punch ulm kale van ordu mus bor split mostar brest angers laval
    sens nancy lille tulle valence vichy bologna parma modena savona tobago tanga bata lobito soyo moa gao kayes
    """
)
# Persons are called so, besides those that are known to be.
PERSONS = words(
    """
    jordan chad georgia israel kenya india paris florence sydney austin dallas houston phoenix victoria santiago
    brooklyn chelsea london jackson charlotte madison lincoln columbus adelaide bristol milan asia america ireland
    holland england french german ingles scott welsh jerusalem lourdes leon diego jose cuba cyprus roman
    """
)
# Persons may be called so too, but hardly anybody is.
PLACES = words(
    """
    china brazil africa europe germany france spain italy japan korea mexico canada egypt iran iraq turkey
    pakistan nepal vietnam thailand poland russia ukraine sweden norway denmark finland greece portugal colombia
    argentina chile peru bolivia ecuador venezuela nigeria ghana ethiopia morocco algeria tunisia indonesia
    malaysia singapore philippines berlin tokyo beijing lagos mumbai delhi istanbul cairo moscow madrid lisbon
    muslim hindu sikh jewish african american chinese japanese korean indian mexican
    """
)
# Longer names that hold that of a country, people or place and mean no culture: breeds, tools, titles, brands, persons.
NOTHING = tuple((Path(__file__).parent / "phrases.txt").read_text(encoding="utf-8").splitlines())
