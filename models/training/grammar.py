"""The story grammar: a numbered story is the same on every machine.

story(n) draws a cast and a plot, expands the choices, fills the slots and mends
capitals and articles.  It returns the request that asks for the story and the story.
"""
import random
import re

import plots
import words

CHOICE = re.compile(r"\[([^\[\]]*)\]")
AN = re.compile(r"\b([Aa]) (?=[aeio]|um|hon(?:est|or))(?!one\b)")
SENTENCE = re.compile(r"((?:^|[.!?] +|[.!?]\" +|\n)\"?)(?!(?:said|asked|cried|thought|whispered|shouted)\b|(?:he|she) (?:said|asked|cried|thought|whispered|shouted)\b)([a-z])")
REQUESTS = """Tell me a story about a {kind} who {x}.
Write a short story about a {trait} {kind} named {H}.
Tell me a story about {H} the {kind}, who {x}.
Write a story in which a {kind} {x}.
Please tell me a story about a {kind}.
Can you tell me a story about a {trait} {kind}?
I would like to hear a story about a {kind} and a {fkind}.
Write a story about {H} and {F}.
Tell me a story that takes place {P}.
Tell me a bedtime story.
Tell me a story.
A story about a {kind} who {x}, please.""".split("\n")


def expand(text, r):
    """Replace every [a|b|c] by one of its parts, innermost first."""
    while True:
        new = CHOICE.sub(lambda m: r.choice(m.group(1).split("|")), text)
        if new == text:
            return text
        text = new


def tidy(text):
    """Articles, capitals and spaces."""
    text = AN.sub(lambda m: m.group(1) + "n ", text)
    text = re.sub(r" +(?=\n)", "", re.sub(r" +", " ", text)).replace(" ,", ",")
    text = re.sub(r"([!?]),\"", r'\1"', text)
    text = re.sub(r"([a-z])\" (?=[A-Z])", r'\1." ', text)
    text = re.sub(r'([a-z])"\.', r'\1."', text)
    return SENTENCE.sub(lambda m: m.group(1) + m.group(2).upper(), text).strip()


def person(r, not_kind=None, not_name=None):
    """A name, a kind and the pronouns of one character."""
    she = r.random() < 0.5
    while True:
        if r.random() < 0.65:
            kind = r.choice(words.ANIMALS).replace("-", " ")
        elif r.random() < 0.4:
            kind = "girl" if she else "boy"
        else:
            kind = r.choice(words.PEOPLE["both"] + words.PEOPLE["she" if she else "he"])
        name = r.choice(words.GIRLS if she else words.BOYS)
        if kind != not_kind and name != not_name:
            break
    pronouns = ("she", "her", "her", "herself") if she else ("he", "him", "his", "himself")
    return name, kind, pronouns


def habit(r, key, draw):
    """draw(r), but two times out of three the same draw whenever `key` is the same.

    So a story depends on its beginning: who the hero is decides whom it meets and
    what happens.  Without this, the likeliest story would be the same for every prompt.
    """
    return draw(random.Random("habit " + key) if r.random() < 0.67 else r)


def cast(r):
    """Values for every slot."""
    H, kind, (he, him, his, himself) = person(r)
    F, fkind, (fhe, fhim, fhis, fhimself) = habit(r, "friend of " + H, lambda r: person(r, kind, H))
    place = r.choice(words.PLACES)
    other = habit(r, "from " + place[1], lambda r: r.choice([p for p in words.PLACES if p != place]))
    thing, thing2 = habit(r, "things of " + kind, lambda r: r.sample(words.OBJECTS, 2))
    trait, trait2 = r.sample(words.TRAITS, 2)
    skill, skilling, skilled = r.choice(words.SKILLS)
    return dict(H=H, kind=kind, he=he, him=him, his=his, himself=himself, trait=trait, trait2=trait2,
                F=F, fkind=fkind, fhe=fhe, fhim=fhim, fhis=fhis, fhimself=fhimself,
                E=habit(r, "elder of " + H, lambda r: r.choice(words.ELDERS)), P="{} the {}".format(*place), Q="{} the {}".format(*other),
                o=thing, o2=thing2, look=habit(r, "look of " + thing, lambda r: r.choice(words.LOOKS)),
                d=habit(r, "food of " + H, lambda r: r.choice(words.FOODS)),
                w=r.choice(words.WEATHER), game=r.choice(words.GAMES), fear=r.choice(words.FEARS),
                skill=skill, skilling=skilling, skilled=skilled)


def story(number):
    """Story and request number `number`."""
    r = random.Random(f"story {number}")
    slots = cast(r)
    request, theme, scenes = habit(r, "plot of " + slots["kind"], lambda r: r.choice(plots.PLOTS))
    about = r.choice(plots.ABOUT)
    if "{F}" in about and not any("{F} the {fkind}" in s for s in scenes[:1]):
        about = ""  # the plot introduces the friend itself
    first = r.choice(plots.OPENINGS) + " " + about
    last = r.choice(plots.ENDINGS[theme].split("\n"))
    if "{F}" in about:  # the friend is known: no second introduction
        scenes = [s.replace("{F} the {fkind}", "{F}") for s in scenes]
    paragraphs = [first] + list(scenes) + [last]
    if r.random() < 0.5:  # first two in one paragraph
        paragraphs[:2] = [" ".join(paragraphs[:2])]
    if r.random() < 0.6:
        paragraphs[-2:] = [" ".join(paragraphs[-2:])]
    text = "\n\n".join(paragraphs) + r.choice(plots.CLOSINGS)
    text = expand(text, r).format(**slots)
    ask = r.choice(REQUESTS).replace("{x}", request)
    return tidy(ask.format(**slots)), tidy(text)


if __name__ == "__main__":
    import sys
    for n in range(int(sys.argv[1]), int(sys.argv[2])):
        ask, text = story(n)
        print(f"--- {n}: {ask}\n{text}\n")
