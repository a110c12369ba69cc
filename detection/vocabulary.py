"""Classes of English words that tell what a name does in a sentence; words of other languages are learned singly."""

from __future__ import annotations

_CLASSES = {
    "kin": """
        mother father mum mom dad parents parent grandmother grandma grandfather grandpa grandparents aunt
        auntie uncle cousin cousins sister brother niece nephew son daughter husband wife spouse fiance fiance
        fiancee fiancee boyfriend girlfriend bf gf partner bride groom in-laws inlaws mother-in-law
        father-in-law sister-in-law brother-in-law family families kids children child baby relatives nan nana
        stepmother stepfather godson mil fil
    """,
    "person": """
        customer customers client clients colleague colleagues coworker coworkers boss manager team teams
        office branch subsidiary staff employee employees worker workers supplier suppliers vendor vendors
        buyer buyers investor investors delegation delegates partners distributor developers engineers
        engineer nurse nurses doctor doctors patient patients student students pupil pupils teacher teachers
        professor intern recruit tenant tenants landlord landlady roommate flatmate neighbour neighbours
        neighbor neighbors guest guests host hosts visitor visitors tourist tourists traveller travellers
        travelers user users reader readers viewer audience friend friends driver chef cook nanny cleaner
        contractor member members couple lady woman man women men guy girl boy people person
    """,
    "event": """
        wedding weddings funeral funerals party ceremony festival dinner lunch breakfast supper banquet
        holiday holidays celebration wake baptism christening birthday feast ritual rites engagement reception
        parade market temple church mosque shrine restaurant bar cafe cafe home house household village
        airport embassy hotel school university
    """,
    "tell": """
        essay article compare comparing explain describe history poem story joke jokes presentation paper
        report quiz documentary film movie book novel stereotype stereotypes post comment talk lecture
        paragraph summary museum caption difference differences between versus vs
    """,
    "go": """
        visit visiting visited travel travelling traveling fly flying flew moving move moved go going went
        trip living live lived arrive arriving arrived staying stay relocating relocate land landing tour
        driving heading headed studying study working work
    """,
    "come": """
        come comes coming came arrives visits joining joins join
    """,
    "born": """
        born raised grew grown roots background heritage ancestry descent upbringing ethnicity origin
        originally
    """,
    "write": """
        write draft email mail letter message invite invitation text reply translate thank greet welcome
        address tell ask send speech toast announcement ad campaign
    """,
    "my": """
        my our mine
    """,
    "their": """
        his her their hers theirs
    """,
    "your": """
        your yours
    """,
    "i": """
        i i'm i've i'd me im we we're us ive
    """,
    "the": """
        the
    """,
    "be": """
        am is are was were be being
    """,
    "from": """
        from of
    """,
    "in": """
        in at near to into across around throughout within
    """,
    "with": """
        with for
    """,
    "food": """
        food cuisine dish dishes recipe coffee tea soup bread rice cake curry
    """,
    "society": """
        culture cultures cultural culturally custom customs customary etiquette tradition traditions traditional
        traditionally society societies people peoples community communities manners norms norm values beliefs
        superstition superstitions religion religious households heritage folklore mythology proverb proverbs
        greeting greetings gesture gestures hospitality taboo taboos law laws citizens nationals elders locals
    """,
    "language": """
        translate translated translating translation language languages speak speaks speaking spoken learn learning
        learned learnt study fluent grammar vocabulary word words sentence sentences phrase phrases pronounce
        pronunciation accent dialect subtitles exam verb verbs noun nouns spelling alphabet letters lessons class
        duolingo transcribe transcript homework
    """,
    "work-of-art": """
        album albums band bands song songs track tracks lyrics singer rapper guitarist movie movies films series
        episode season sequel trailer actor actress starring director novel novels novelist author chapter plot
        character characters playlist soundtrack musical play painting game games gameplay boss level spoiler
        review concert tour
    """,
    "code": """
        code python javascript java function class import module package library framework api sdk server deploy
        build version release upgrade migration database query sql error exception compile compiler runtime bug
        config json yaml docker kubernetes plugin app dataset model distance algorithm protocol encoding font
        typeface software update install driver repo branch commit
    """,
    "sport": """
        team match matches league cup score scored goal goals player players coach season striker goalkeeper midfield
        derby playoffs tournament champions fc united squat squats deadlift rep reps sets workout exercise twists
        gym stretch opening defence defense gambit
    """,
    "goods": """
        sandwich sandwiches oven press fries toast cheese chocolate dressing sauce sausage sausages rug rugs carpet
        blanket hat hats jacket jackets shoes boots cotton linen leather lace porcelain plates cups furniture chair
        door doors knife knives breed puppy puppies dog dogs cat cats horse kennel litter vet plant plants bulbs seeds
        flu measles fever syndrome virus variant beetle beetles roulette auction recipe recipes grams bake roast
        grinder brew blend beans car cars engine fuel tyres model bike
    """,
    "name": """
        mr mrs ms miss dr prof professor sir aunt uncle named name called surname
    """,
}
# A word of two classes is of the first.
CLASSES = {word: name for name, words in reversed(_CLASSES.items()) for word in words.split()}
