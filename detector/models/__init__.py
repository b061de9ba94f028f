"""Learned models: features, baselines, calibration, the isolation forest."""
