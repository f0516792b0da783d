"""The measurements that medclip knows: their units, the values that can be, and the names people give them."""

from dataclasses import dataclass

__all__ = ["KNOWN", "NAMES", "Known"]


@dataclass(frozen=True)
class Known:
    """A measurement that medclip knows: its unit, and the range outside which a value is a typing error."""

    unit: str  # UCUM
    low: float
    high: float
    synonyms: tuple[str, ...] = ()


KNOWN: dict[str, Known] = {
    "temperature": Known("Cel", 25, 45, ("temp", "body temperature")),
    "heart rate": Known("/min", 10, 350, ("pulse", "hr")),
    "respiratory rate": Known("/min", 2, 120, ("rr",)),
    "systolic blood pressure": Known("mm[Hg]", 30, 320, ("sbp", "systolic")),
    "diastolic blood pressure": Known("mm[Hg]", 10, 220, ("dbp", "diastolic")),
    "oxygen saturation": Known("%", 20, 100, ("spo2", "pO2 saturation", "sao2")),
    "height": Known("cm", 20, 260),
    "weight": Known("kg", 0.3, 450, ("body weight",)),
    "leukocytes": Known("10*9/L", 0, 800, ("wbc", "white cell count", "leukocyte count")),
    "neutrophils": Known("10*9/L", 0, 400, ("neutrophil count",)),
    "lymphocytes": Known("10*9/L", 0, 700, ("lymphocyte count",)),
    "platelets": Known("10*9/L", 0, 3000, ("thrombocytes", "platelet count")),
    "haemoglobin": Known("g/L", 15, 260, ("hemoglobin", "hb")),
    "creatinine": Known("umol/L", 5, 3000),
    "c-reactive protein": Known("mg/L", 0, 800, ("crp",)),
    "glucose": Known("mmol/L", 0.3, 90),
    "lactate": Known("mmol/L", 0.1, 40),
    "d-dimer": Known("mg/L", 0, 200),
}

NAMES = {name: name for name in KNOWN} | {
    synonym.lower(): name for name, known in KNOWN.items() for synonym in known.synonyms
}
"""What people write, in lower case → the name of a known measurement."""
