"""Sigma rules: loaded, checked, compiled to SQL, evaluated."""
