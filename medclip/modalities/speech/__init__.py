"""Speech: a dictation → its transcript, which goes on as text."""
