"""Code lists of the canonical tables: each code with its plain meaning.

The codes are lower-case words, not the numbers of a national data set, so that a table can be read
by anybody; converters map national codes onto them.
"""

from __future__ import annotations

CODES: dict[str, dict[str, str]] = {
    "sex": {"female": "female", "male": "male", "other": "another answer", "unknown": "not recorded"},
    "ethnic_group": {
        "white": "White",
        "black": "Black, African, Caribbean or Black British",
        "asian": "Asian or Asian British",
        "mixed": "mixed or multiple groups",
        "other": "another group",
        "unknown": "not recorded or not stated",
    },
    "ward_type": {
        "acute": "acute admission ward",
        "picu": "psychiatric intensive care",
        "rehab": "inpatient rehabilitation",
        "secure": "low, medium or high secure",
    },
    "admission_method": {
        "elective": "planned",
        "emergency": "unplanned",
        "transfer": "from another hospital or ward",
    },
    "discharge_method": {
        "planned": "agreed with the team",
        "self": "the person left against or without advice",
        "transfer": "to another hospital or ward",
        "died": "died",
    },
    "discharge_destination": {
        "own_home": "home, alone or with family",
        "placement": "a home or supported place that is arranged for the person",
        "hospital": "another hospital",
        "other": "elsewhere",
        "died": "died",
    },
    "legal_status": {
        "informal": "not detained",
        "section_2": "detained for assessment (Mental Health Act, section 2)",
        "section_3": "detained for treatment (Mental Health Act, section 3)",
        "forensic": "detained through the courts or from prison (part III)",
    },
    "setting": {
        "residential_care": "care home",
        "nursing_care": "care home with nursing",
        "supported_living_24h": "supported living with staff day and night",
        "supported_living": "supported living with visiting staff",
        "floating_support": "own place with visiting support",
        "own_tenancy": "own tenancy without support",
        "family": "with family or friends",
        "homeless": "no settled place",
        "prison": "prison",
    },
    "funder": {
        "local_authority": "the council",
        "nhs": "the NHS",
        "joint": "the council and the NHS together",
        "self": "the person",
    },
    "activity": {
        "employment": "paid work",
        "volunteering": "volunteering",
        "education": "education or training",
        "connections": "groups, friends and other connections",
    },
}

# ICD-10: a letter, two digits and, after a point, up to four more signs (F20, F25.1).
ICD10_PATTERN = r"^[A-Z][0-9]{2}(\.[0-9A-Z]{1,4})?$"

_WARD_TYPES = tuple(CODES["ward_type"])
RESOURCE_PATTERN = (
    rf"^(ward_day\.({'|'.join([*_WARD_TYPES, 'out_of_area'])})"
    rf"|(placement|housing)_week\.({'|'.join(CODES['setting'])})|contact|programme_(week|set_up)\..+)$"
)

# What a price of `unit_costs` is for, by the first word of its resource.
PRICE_UNITS = {
    "ward_day": "day",
    "placement_week": "week",
    "contact": "contact",
    "programme_week": "week",
    "programme_set_up": "once",
    "housing_week": "week",
}
