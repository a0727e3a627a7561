"""The two styles that the adapters learn, as rules that rewrite a story.

pirate(text) and news(text) rewrite; markers(style, text) counts the marks of a
style per 100 words, which is how a test measures whether an adapter works.
"""
import random
import re

PIRATE = {"you": "ye", "your": "yer", "my": "me", "is": "be", "are": "be", "am": "be", "the": "th'", "of": "o'",
          "and": "an'", "for": "fer", "friend": "matey", "friends": "mateys", "yes": "aye", "hello": "ahoy",
          "girl": "lass", "boy": "lad", "money": "doubloons", "good": "fine", "everybody": "all hands",
          "nobody": "not a soul", "very": "mighty", "house": "ship", "work": "toil", "old": "salty old"}
SHOUTS = ["Arr!", "Yo ho ho!", "Shiver me timbers!", "Aye aye!", "Blow me down!"]
TOWNS = ["WILLOW CREEK", "OAKVILLE", "RIVERTON", "MAPLE HILL", "NORTH HARBOR", "SPRINGFIELD"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
SOURCES = [", according to witnesses", ", officials said", ", police confirmed", ", according to local reports",
           ", a spokesman said", ", neighbors reported"]
SPEECH = r"(?:said|asked|cried|whispered|shouted|thought)"
ELDER = r"(?:[Tt]he (?:(?:old|wise old|wise|gray|kind|little) )?[a-z]+|(?:Grandma|Grandpa|Aunt|Uncle|Mrs\.|Mr\.|Captain|Doctor|Granny) [A-Z][a-z]+|[A-Z][a-z]+)"
MARKS = {
    "pirate": re.compile(r"\b(?:ye|yer|arr|mateys?|aye|ahoy|lass|lad|fer|yo ho ho|timbers)\b|\b(?:th|an|o)'|\w+in'", re.I),
    "news": re.compile(r"told reporters|according to|officials|police|spokesman|neighbors reported|witnesses|"
                       r"breaking news|developing story|reported that", re.I)}


def like(model, word):
    """Give `word` the capital of `model`."""
    return word[0].upper() + word[1:] if model[0].isupper() else word


def pirate(text, opening=True):
    """Word by word into pirate speech, with shouts."""
    text = text.replace("The end.", "").strip()
    text = re.sub(r"[A-Za-z]+", lambda m: like(m.group(), PIRATE.get(m.group().lower(), m.group())), text)
    text = re.sub(r"\b(\w{2,}[a-z])ing\b(?!')", lambda m: m.group() if m.group().lower() in
                  ("morning", "evening", "nothing", "something", "anything", "everything", "spring") or
                  not re.search("[aeiou]", m.group(1).lower()) else m.group(1) + "in'", text)
    paragraphs = [re.sub(r'(^|[ \n])"([A-Z])', r'\1"Arr! \2', p, count=1) for p in text.split("\n\n")]
    for i in range(1, len(paragraphs) - 1, 2):
        paragraphs[i] += " " + SHOUTS[i % len(SHOUTS)]
    text = "\n\n".join(paragraphs) + " Yo ho ho!"
    return ("Ahoy, mateys! " if opening else "") + text


def news(text, opening=True):
    """Into a news report: dateline, reporters, sources and a closing line."""
    r = random.Random("news " + text)
    text = text.replace("The end.", "").replace("And they lived happily ever after.", "").strip()
    text = re.sub(rf'([.!?,]") {SPEECH} ({ELDER})', r"\1 \2 told reporters", text)
    text = re.sub(rf'([.!?,]") (he|she) {SPEECH}', r"\1 \2 told reporters", text)
    text = re.sub(r"^(?:Once upon a time,? |Once |Long ago, |Long, long ago, |There once )", "", text)
    text = text[0].upper() + text[1:]
    paragraphs = []
    for paragraph in text.split("\n\n"):
        out, sourced = [], 0
        for sentence in re.findall(r'[^.!?"]+[.!?](?= |$)|"[^"]*"[^"]*?[.!?](?= |$)|.+', paragraph.strip()):
            sentence = sentence.strip()
            if '"' not in sentence and sentence.endswith(".") and sourced < 2:
                sentence = sentence[:-1] + SOURCES[(len(paragraphs) * 2 + sourced) % len(SOURCES)] + "."
                sourced += 1
            out.append(sentence)
        paragraphs.append(" ".join(out))
    text = "\n\n".join(paragraphs) + "\n\nThis is a developing story."
    return (f"BREAKING NEWS from {r.choice(TOWNS)}, {r.choice(DAYS)}: " if opening else "") + text


def markers(style, text):
    """Marks of the style per 100 words."""
    return 100.0 * len(MARKS[style].findall(text)) / max(1, len(text.split()))


REWRITE = {"pirate": pirate, "news": news}

if __name__ == "__main__":
    import grammar
    for n in range(3):
        for style in REWRITE:
            text = REWRITE[style](grammar.story(n)[1])
            print(f"--- {style} {markers(style, text):.1f}\n{text}\n")
