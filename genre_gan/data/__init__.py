"""Labelled tracks: where they come from, how they are split, and their cached features."""
