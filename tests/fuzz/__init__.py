"""Coverage-guided fuzzing: what may be fed any bytes (`targets`), and who feeds it (`run`, `one`)."""
