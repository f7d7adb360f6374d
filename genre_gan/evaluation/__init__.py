"""How near generated music is to real music, and how often a classifier is right."""
