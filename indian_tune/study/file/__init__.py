"""What a study file may hold: sections, spaces, and what is said of a mistake."""
