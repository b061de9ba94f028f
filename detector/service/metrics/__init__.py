"""Figures for Prometheus and /healthz, served by detection: it sees the store, and so every collector's figures."""
