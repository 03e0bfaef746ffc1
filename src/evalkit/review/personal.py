"""Patterns of personal data in what readers write. They find patterns, not people: somebody must still read.

Nothing here prints or raises: a finding is a kind and a place, never the words themselves.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

# Kinds that point at one person by themselves. Nobody can wave them through; they are taken out or the text is changed.
ALWAYS_OUT = frozenset({
    "NHS number", "National Insurance number", "telephone number", "e-mail address", "postcode", "date of birth",
    "street address",
})  # fmt: skip
FEWEST = 10  # the strictest disclosure profile


@dataclass(frozen=True)
class Found:
    """One finding: its kind and its place in the text, in characters."""

    kind: str
    start: int
    end: int


_DASHES = str.maketrans("\u2010\u2011\u2012\u2212", "----")
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    r"nov(?:ember)?|dec(?:ember)?)"
)
_NO_NAME = frozenset({
    "a", "an", "the", "of", "from", "in", "with", "and", "who", "peer", "peers", "carer", "carers", "staff",
    "reader", "reviewer", "researcher", "member", "service", "user", "users", "person", "people", "somebody",
    "someone", "friend", "worker", "support", "expert", "experience", "lived", "group", "former", "another",
    "one", "mother", "father", "parent", "sister", "brother", "student", "volunteer", "anonymous",
})  # fmt: skip
_DAY = r"(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?"
_DATE = (
    r"(?:\b\d{1,2}\s{0,2}[-/.]\s{0,2}\d{1,2}\s{0,2}[-/.]\s{0,2}(?:19|20)\d{2}\b|"
    rf"\b\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}\b|(?<![\d/.-])\d{{1,2}}[-/.]\d{{1,2}}[-/.](?:\d{{4}}|\d{{2}})(?![\d/.-])|"
    rf"\b{_DAY}(?:\s+of)?[\s-]+{_MONTH}\b(?:[,\s-]+\d{{4}})?|"
    rf"\b(?:(?!may\b){_MONTH}|(?-i:May|MAY))\s+{_DAY}(?!\d)(?:,?\s+\d{{4}})?(?!\s*(?:%|per|people|months|days)))"
)
_NAME = r"(?-i:[A-Z][\w'’-]+|[A-Z]\.?(?=\W|$))(?:\s+(?-i:[A-Z][\w'’-]+))*"
_NOT_NAME = (
    r"(?!(?:I|The|He|She|They|We|It|You|My|His|Her|Their|Our|This|That|And|But|When|If|So|As|At|In|On|For|To|Of|Or|"
    r"GP|IPSA|NHS|Who|Which|Was|Is|Not|No|Yes)\b)"
)
_JOB = (
    r"(?:nurse|doctor|sister|matron|consultant|professor|psychiatrist|psychologist|social worker|support worker|"
    r"key ?worker|care ?co-?ordinator|ward manager|manager|therapist|gp|peer worker)"
)
_KIN = (
    r"(?:mum|mother|dad|father|brother|sister|son|daughter|wife|husband|partner|friend|boyfriend|girlfriend|aunt|uncle|"
    r"cousin|neighbour|flatmate|carer|landlord|gran|nan|grandmother|grandfather)"
)
_COUNTED = (
    r"(?:people|persons?|women|wom[ae]n|men|man|males?|females?|adults?|residents?|patients?|service users?|deaths?|"
    r"suicides?|of (?:us|them)|others?|peers?|carers?|staff|friends?|tenants?|admissions?|discharges?|"
    r"mates?|girls?|boys?|lads?|blokes?|clients?|inpatients?|relatives?|families)"
)
_SPELT = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_STREET = r"(?:street|st|road|rd|avenue|ave|lane|close|drive|gardens|terrace|crescent|court|way|hill|grove|place)"

_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        ("e-mail address",
         r"(?<![\w.+'-])[\w.+'-]+\s*(?:@|[\[(]\s*at\s*[\])])\s*[\w-]+(?:\s*(?:\.|[\[(]\s*dot\s*[\])])\s*[\w-]+)+"),
        ("e-mail address", r"(?<![\w.+'-])[\w.+'-]+\s+\(?at\)?\s+[\w-]+\s+\(?dot\)?\s+(?:com|org|net|uk|co|eu|nhs)\b"),
        ("web address",
         r"\bhttps?:\S*|\bwww\.\S+|(?<![@\w-])[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|uk|info|io|eu|me|co)\b(?:/\S*)?"),
        ("handle of an account", r"(?<![\w@.])@\w{2,}"),
        ("National Insurance number",
         r"\b[a-ceghj-prstw-z][a-ceghj-nprstw-z]\s?\d{2}\s?\d{2}\s?\d{2}\s?[a-d]\b"),
        ("postcode", r"\b(?:gir\s?0aa|[a-pr-uwyz][a-hk-y]?\d[a-z\d]?\s{0,3}\d[abd-hjlnp-uw-z]{2})\b"),
        ("street address", rf"\b\d{{1,4}}[a-z]?,?\s+(?-i:(?:[A-Z][\w'’-]+\s+){{1,3}}){_STREET}\b"),
        ("date of birth",
         rf"\b(?:date of birth|d\.?o\.?b\b\.?|birthday|birth date|born)(?:\s+(?:is|was|on|in))*\W{{0,3}}"
         rf"(?:{_DATE}|{_MONTH}\s+\d{{4}}|(?:19|20)\d{{2}})"),
        ("date", _DATE),
        ("name of a person", r"\b(?:mr|mrs|ms|mx|dr|prof)\b\.?\s+(?!(?:and|or|who|was|were|is|are|said)\b)[a-z][\w'’-]+"
                             r"(?:\s+(?-i:[A-Z][\w'’-]+))*"),
        ("name of a person", rf"\b(?:miss|sir|dame|lord|lady)\s+{_NOT_NAME}{_NAME}"),
        ("name of a person", rf"\b{_JOB},?\s+(?:(?:called|named)\s+)?{_NOT_NAME}{_NAME}"),
        ("name of a person", rf"\bmy\s+{_KIN},?\s+(?:(?:called|named)\s+)?{_NOT_NAME}{_NAME}"),
        ("name of a person", rf"\b(?:i am|i'm|i’m)\s+(?:called|named)\s+{_NOT_NAME}[a-z][\w'’-]+"),
        ("name of a person", r"\bnames?\s+(?:is|was|are|were)\s+(?!(?:not|on|in|the|a|an|never|always|known)\b)"
                             r"[a-z][\w'’-]+(?:\s+(?-i:[A-Z][\w'’-]+))*"),
        ("name of a person", rf"\b(?:called|named|signed|regards|yours),?\s+{_NOT_NAME}{_NAME}"),
    )
)  # fmt: skip
_DIGITS = re.compile(r"(?<![£$€\d.,])\+?\(?\d(?:[\s().\-–—_/]{0,3}\d){6,}")
_NHS_GROUPS = re.compile(r"(?<!\d)\d{3}[\W_]{1,3}\d{3}[\W_]{1,3}\d{4}(?!\d)")
_TELEPHONE = r"(?:0|44|0044)0?[1-9]\d{8,9}"
_NOUN_COUNT = re.compile(
    rf"(?<![\w.,/:£-])(?P<number>\d{{1,4}}|{'|'.join(_SPELT)}|couple of|both(?=\s+of\s+(?:us|them)\b))\s+"
    rf"(?:(?:of\s+(?:my|our|the)|(?!(?:of|in|out|or|to|and|per)\b)[a-z-]+)\s+)?{_COUNTED}\b",
    re.IGNORECASE,
)
_RATE_BEFORE = re.compile(r"(?:out of|in every|in each|of every|per|every|each|\d in|one in)\s+$", re.IGNORECASE)
_RATE_AFTER = re.compile(r"^\s+(?:[a-z]+\s+){0,2}(?:in|out of|of)\s+(?:every\s+)?1?0{1,3}\b|^\s+in\s+10", re.IGNORECASE)


def find_personal(text: str, *, threshold: int = FEWEST) -> tuple[Found, ...]:
    """Every pattern of personal data in a text, in order; where two overlap, the longer or stricter one.

    Besides what points at one person, it finds numbers of people below `threshold`: they are as telling in a comment
    as in a table.
    """
    folded, places = _folded(text)
    found = [Found(kind, m.start(), m.end()) for kind, pattern in _PATTERNS for m in pattern.finditer(folded)]
    found += [*_long_numbers(folded), *_small_counts(folded, threshold)]
    found.sort(key=lambda f: (f.kind not in ALWAYS_OUT, f.start - f.end, f.start))
    kept: list[Found] = []
    for one in found:
        if all(one.end <= other.start or one.start >= other.end for other in kept):
            kept.append(one)
    kept.sort(key=lambda f: f.start)
    return tuple(Found(f.kind, places[f.start], places[f.end - 1] + 1) for f in kept)


def find_in_name(name: str) -> tuple[Found, ...]:
    """What is personal in the name a reader gave to be shown: as in a text, and two names that look like a full one."""
    words = re.findall(r"[^\W\d_][\w'’.-]*", _folded(name)[0])
    own = [word for word in words if word.lower() not in _NO_NAME]
    high = [word for word in own if not word[0].islower()]  # scripts without capitals count as names too
    full = len(high) > 1 or (len(own) == len(words) == 2 and not high)
    return find_personal(name) or ((Found("name of a person", 0, len(name)),) if full else ())


def blank_personal(text: str, found: tuple[Found, ...]) -> str:
    """The text with each finding replaced by what it was, such as `[telephone number removed]`."""
    for one in sorted(found, key=lambda f: f.start, reverse=True):
        text = f"{text[: one.start]}[{one.kind} removed]{text[one.end :]}"
    return text


def is_nhs_number(digits: str) -> bool:
    """Whether ten digits are an NHS number: the tenth is the check digit (modulus 11, NHS Data Dictionary)."""
    if len(digits) != 10 or not digits.isdecimal() or len(set(digits)) == 1:
        return False
    check = 11 - sum(int(digit) * weight for digit, weight in zip(digits, range(10, 1, -1), strict=False)) % 11
    return check % 11 == int(digits[9]) and check != 10


def _long_numbers(text: str) -> Iterator[Found]:
    for match in _DIGITS.finditer(text):
        groups = re.findall(r"\d+", match.group())
        digits = "".join(groups)
        years = all(re.fullmatch(r"(?:19|20)\d\d|\d\d", group) for group in groups) and len(groups) > 1
        kind = ""
        whole = [digits, *groups, *("".join(groups[i : i + 3]) for i in range(len(groups) - 2))]
        if any(is_nhs_number(part) for part in whole):
            kind = "NHS number"
        elif match.group().startswith("+") or any(re.fullmatch(_TELEPHONE, part) for part in whole):
            kind = "telephone number"
        elif not years or any(group.startswith("0") for group in groups[:1]):
            kind = "long number"
        if kind and not re.fullmatch(_DATE, match.group(), re.IGNORECASE):
            yield Found(kind, match.start(), match.end())
    for match in _NHS_GROUPS.finditer(text):
        if is_nhs_number(re.sub(r"\D", "", match.group())):
            yield Found("NHS number", match.start(), match.end())


def _small_counts(text: str, threshold: int) -> Iterator[Found]:
    for match in _NOUN_COUNT.finditer(text):
        said = match["number"].lower()
        number = _SPELT.index(said) + 1 if said in _SPELT else int(said) if said.isdecimal() else 2
        rate = _RATE_BEFORE.search(text[: match.start()]) or _RATE_AFTER.search(text[match.end() :])
        if number < threshold and not rate:
            yield Found("small number of people", match.start(), match.end())


def _folded(text: str) -> tuple[str, list[int]]:
    """The text as a reader sees it, and where each letter was: plain letters and figures, without accents.

    Full-width letters and other scripts' figures become plain; what is invisible is left out.
    """
    letters: list[str] = []
    places: list[int] = []
    for place, letter in enumerate(text.translate(_DASHES)):
        plain = "".join(
            _figure(part) for part in unicodedata.normalize("NFKD", letter)
            if unicodedata.category(part) not in ("Cf", "Mn")
        )  # fmt: skip
        letters += plain
        places += [place] * len(plain)
    return "".join(letters), places


def _figure(letter: str) -> str:
    value = unicodedata.decimal(letter, None)
    return letter if value is None else str(value)
