"""Words that look like names and are none, or not always; English mostly. The rest is told by what stands around."""

from __future__ import annotations

from detection.folding import words

# Ordinary words that are also names: with a capital only, and not because a sentence begins.
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
# Longer names that hold a culture's name and mean none.
NOTHING: tuple[str, ...] = (
    "New Mexico State", "Guinea pig", "Guinea pigs", "Guinea fowl", "Brussels sprout", "Brussels sprouts",
    "French fries", "French fry", "French press", "French toast", "French bulldog", "French bulldogs", "French horn",
    "French door", "French doors", "French leave", "French kiss", "French braid", "French manicure", "French onion",
    "Dutch oven", "Dutch auction", "go Dutch", "going Dutch", "went Dutch", "Dutch courage", "double Dutch",
    "German shepherd", "German shepherds", "German measles", "Great Dane", "Great Danes", "Persian cat",
    "Persian cats", "Siamese cat", "Siamese cats", "Siamese twins", "Swiss cheese", "Swiss army knife", "Swiss roll",
    "Swiss chard", "Danish pastry", "Danish pastries", "Panama hat", "Panama hats", "China plate", "China plates",
    "China cabinet", "bone china", "fine china", "Chinese whispers", "Chinese room", "Chinese wall",
    "Chinese checkers", "Russian roulette", "Turkey sandwich", "Turkey sandwiches", "Turkey recipe", "Turkey breast",
    "Turkey burger", "cold turkey", "Turkish delight", "Indian ink", "India ink", "Indian summer", "Roman numeral",
    "Roman numerals", "Arabic numeral", "Arabic numerals", "Scottish terrier", "Afghan hound", "Latin America",
    "Latin square", "Asian American", "Asian Americans", "South America", "South American", "South Americans",
    "Latin American", "Latin Americans", "North America", "North American", "North Americans", "Central America",
    "Central American", "Pan-American", "Central Americans", "South Asia", "East Asia", "Southeast Asia",
    "Korean War", "Indian Ocean", "Irish setter", "English muffin", "English muffins", "English horn",
    "English bulldog", "Jersey cow", "Japanese maple", "Japanese knotweed", "Belgian waffle", "Belgian waffles",
    "Spanish flu", "Mexican standoff", "Mexican wave", "Polish notation", "Hungarian notation", "Byzantine fault",
    "Norway rat", "Brazil nut", "Brazil nuts", "Brazilian wax", "Bermuda shorts", "Bermuda triangle", "Cuban heels",
    "Cuban heel", "Stockholm syndrome", "Egyptian cotton", "Egyptian mau", "Morocco leather", "Siberian husky",
    "Manchester encoding", "Manchester United", "Manchester City", "Geneva convention", "Chicago style",
    "Boston terrier", "Tasmanian devil", "Java virtual machine", "JavaScript", "Jakarta EE", "Oxford comma",
    "Trojan horse", "Greek to me", "Canary Wharf", "White House", "Supreme Court", "Wall Street", "Venetian blind",
    "Venetian blinds", "Delft", "Dalmatian", "Labrador", "Labrador retriever", "Pomeranian", "Chihuahua dog",
    "Pekinese", "Maltese terrier", "Welsh corgi", "Welsh rarebit", "Scotch egg", "Scotch tape", "Scotch whisky",
    "Bavarian cream", "Boston cream", "Hawaiian pizza", "Caesar salad", "Worcestershire sauce", "Bologna sandwich",
    "Frankfurter", "Hamburger",
)  # fmt: skip
