"""Edits numbers of finished datasets, seals them again, and asks `tokenreel verify` whether it finds the edit."""
