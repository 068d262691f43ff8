"""The grammar of the fables, as data: read it as a recipe for telling a story.

A template such as ``"lived {hero.name} the {hero.trait} {hero.animal}."`` mentions *facts* in braces. The **first**
mention of a fact draws it from its table, with the weights written there; that draw is the only thing a reader cannot
know beforehand, and it costs `-ln p` nats. **Every later mention recalls** what was drawn, and costs nothing to
somebody who has paid attention. `fables.tell` and `fables.read` both walk this data, so they cannot disagree about it.

Rules that a test proves for the whole grammar:

* at each place where the story can go on in several ways, no way is the beginning of another, so that a text can have
  been told in one way only;
* every table entry is used, and every word of a template is a plain word, a fact, or punctuation.
"""

# Who. A weight says how often: a fox is four times as likely as a crab.
ANIMALS = {
    "fox": 4, "hen": 4, "crow": 3, "hare": 3, "wolf": 3, "bear": 3, "goat": 3, "mouse": 3, "frog": 2, "duck": 2,
    "cat": 2, "dog": 2, "pig": 2, "lamb": 2, "lion": 2, "deer": 1, "mole": 1, "swan": 1, "snail": 1, "crab": 1,
}  # fmt: skip
NAMES = {
    "Ada": 3, "Bo": 3, "Cleo": 2, "Dara": 2, "Eli": 2, "Fern": 2, "Gus": 2, "Hugo": 2,
    "Ivy": 2, "Jem": 2, "Kit": 2, "Lena": 2, "Milo": 1, "Nell": 1, "Otto": 1, "Pia": 1,
    "Quin": 1, "Rosa": 1, "Sven": 1, "Tess": 1, "Uma": 1, "Vito": 1, "Yara": 1, "Zeb": 1,
}  # fmt: skip

# What they are like. The trait of the one who finds the thing decides the answer, the deed, the turn and the moral.
TRAITS = {
    "proud": 3, "greedy": 3, "lazy": 2, "vain": 2, "stubborn": 1, "careless": 1,
    "kind": 3, "patient": 3, "brave": 2, "humble": 2, "clever": 1, "loyal": 1,
}  # fmt: skip
VICES = ("proud", "greedy", "lazy", "vain", "stubborn", "careless")

# Where and what. Further forms of a fact are written `{home.look}`, `{thing.look}`, `{thing.use}`, `{weather.noun}`.
HOMES = {
    "valley": 3,
    "forest": 3,
    "village": 2,
    "meadow": 2,
    "garden": 2,
    "harbour": 1,
    "desert": 1,
    "orchard": 1,
    "castle": 1,
    "island": 1,
}
HOME_LOOKS = {
    "valley": "green", "forest": "dark", "village": "quiet", "meadow": "wide", "garden": "walled",
    "harbour": "busy", "desert": "dry", "orchard": "shady", "castle": "ruined", "island": "lonely",
}  # fmt: skip
THINGS = {
    "bell": 3, "lamp": 3, "drum": 2, "kite": 2, "crown": 2, "book": 2, "boat": 2,
    "pear": 1, "mirror": 1, "key": 1, "flute": 1, "ball": 1, "map": 1, "cart": 1,
}  # fmt: skip
THING_LOOKS = {
    "bell": "silver", "lamp": "brass", "drum": "wooden", "kite": "red", "crown": "golden", "book": "worn",
    "boat": "small", "pear": "sweet",
    "mirror": "round", "key": "rusty", "flute": "thin", "ball": "blue", "map": "torn", "cart": "heavy",
}  # fmt: skip
THING_USES = {
    "bell": "ring", "lamp": "light", "drum": "beat", "kite": "fly", "crown": "wear", "book": "read", "boat": "row",
    "pear": "taste", "mirror": "hold", "key": "turn", "flute": "play", "ball": "throw", "map": "study", "cart": "pull",
}  # fmt: skip
WEATHERS = {"windy": 3, "rainy": 3, "snowy": 2, "foggy": 1, "stormy": 1, "frosty": 1}
WEATHER_NOUNS = {
    "windy": "wind",
    "rainy": "rain",
    "snowy": "snow",
    "foggy": "fog",
    "stormy": "storm",
    "frosty": "frost",
}
SPOTS = {"mill": 3, "well": 3, "bridge": 2, "tower": 2, "gate": 1, "oak": 1, "cave": 1, "pond": 1}

# How it is worded: free choices that nothing later depends on.
OPENINGS = {"Once": 2, "Long ago": 1}
NEIGHBOURS = {"Nearby": 3, "Next door": 2, "Across the hill": 1}
ROLES = {"hero": 2, "friend": 1}

# What follows from what the finder is like.
ANSWERS = {
    "vice": '"No, {other.name},"',
    "virtue": '"Yes, {other.name},"',
}
DEEDS = {
    "proud": "showed the {thing} to everyone and slipped.",
    "greedy": "hid the {thing} and guarded it all day.",
    "lazy": "dropped the {thing} in the grass and slept.",
    "vain": "polished the {thing} and admired the shine.",
    "stubborn": "held the {thing} and would not move.",
    "careless": "left the {thing} on the path and wandered off.",
    "kind": "gave the {thing} to {other.name} with a smile.",
    "patient": "waited while {other.name} tried the {thing}.",
    "brave": "took the {thing} and {other.name} up the cliff.",
    "humble": "let {other.name} have the {thing} first.",
    "clever": "built another {thing} for {other.name}.",
    "loyal": "promised to share the {thing} with {other.name} forever.",
}
TURNS = {
    "vice": "was gone.",
    "virtue": "led them home.",
}
ENDINGS = {
    "vice": "found it, and the {home} laughed at {finder.name}.",
    "virtue": "danced, and the {home} cheered for {finder.name}.",
}
MORALS = {
    "proud": "pride comes before a fall.",
    "greedy": "who wants everything keeps nothing.",
    "lazy": "sleep late and lose the day.",
    "vain": "beauty fades like the dew.",
    "stubborn": "bend or you will break.",
    "careless": "what you forget you lose.",
    "kind": "kindness is never wasted.",
    "patient": "good things come to those who wait.",
    "brave": "courage opens every door.",
    "humble": "the lowest branch bears fruit.",
    "clever": "wit is worth more than gold.",
    "loyal": "a true friend is a treasure.",
}

# The story: a tuple of templates and of branches. A branch `(fact, table)` goes on with the table's line for that fact.
STORY = (
    "{opening}, in a {home.look} {home}, there lived {hero.name} the {hero.trait} {hero.animal}. ",
    "{neighbour} lived {friend.name} the {friend.trait} {friend.animal}. ",
    "One {weather} morning, {finder.name} found a {thing.look} {thing} by the {spot}. ",
    '"May I {thing.use} the {thing}?" asked {other.name}. ',
    ("finder.kind", ANSWERS),
    " said {finder.name}, for the {finder.animal} was {finder.trait}. ",
    "So {finder.name} ",
    ("finder.trait", DEEDS),
    " Then the {weather.noun} shook the {spot}, and the {thing} ",
    ("finder.kind", TURNS),
    " The {other.trait} {other.animal} ",
    ("finder.kind", ENDINGS),
    " Moral: ",
    ("finder.trait", MORALS),
)

# Where each fact is drawn from. `friend.…` never repeats the hero's; `finder` is one of the two, `other` the one left.
TABLES = {
    "opening": OPENINGS,
    "home": HOMES,
    "hero.trait": TRAITS,
    "hero.animal": ANIMALS,
    "hero.name": NAMES,
    "neighbour": NEIGHBOURS,
    "friend.name": NAMES,
    "friend.trait": TRAITS,
    "friend.animal": ANIMALS,
    "weather": WEATHERS,
    "finder": ROLES,
    "thing": THINGS,
    "spot": SPOTS,
}
FORMS = {"home.look": HOME_LOOKS, "thing.look": THING_LOOKS, "thing.use": THING_USES, "weather.noun": WEATHER_NOUNS}
