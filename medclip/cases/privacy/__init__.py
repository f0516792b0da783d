"""What identifies a person: in a DICOM header, in free text, in a cases folder."""
