"""Judges detection on what is known: labelled logs, generated weeks, or a stored past with attacks planted into it."""
