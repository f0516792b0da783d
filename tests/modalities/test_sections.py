"""Reports as they are written: sections found whatever the heading's style."""

import pytest

from medclip.modalities.text.sections import Sections, split_sections

EXPECTED = Sections("Cough for a week.", "The lungs are clear. No effusion.", "No acute disease.")


@pytest.mark.parametrize(
    "report",
    [
        "HISTORY: Cough for a week.\nFINDINGS: The lungs are clear. No effusion.\nIMPRESSION: No acute disease.",
        "Indication:\nCough for a week.\n\nTechnique: PA and lateral.\n\nFindings:\nThe lungs are clear. No effusion.\n\n"
        "Conclusion:\nNo acute disease.\n",
        "CLINICAL INFORMATION\r\nCough for a week.\r\nCOMPARISON\r\nNone.\r\nFINDINGS\r\nThe lungs are clear. "
        "No effusion.\r\nOPINION\r\nNo acute disease.",
        "Reason for exam: Cough for a week. Findings: The lungs are clear. No effusion. Impression: No acute disease.",
        "**Clinical history:** Cough for a week.\n**Report:** The lungs are clear. No effusion.\n"
        "**Impression:** No acute disease.",
    ],
)
def test_headings_of_every_style_are_known(report: str) -> None:
    found = split_sections(report)
    assert Sections(*(part.strip("* ") for part in (found.history, found.findings, found.impression))) == EXPECTED


def test_a_report_without_headings_is_findings() -> None:
    text = "The heart is normal in size. History of surgery is noted in the findings."
    assert split_sections(text) == Sections(findings=text)


def test_a_word_inside_a_sentence_is_no_heading() -> None:
    text = "Findings: Comparison is made with the study of last year. The impression of mass effect persists."
    assert split_sections(text).findings == text.removeprefix("Findings: ")
    assert split_sections(text).impression == ""
