"""Coverage-guided fuzzing with atheris: harnesses that run for as long as one lets them, and a small corpus."""
