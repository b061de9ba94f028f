"""Capture in the kernel: the eBPF programs, their loader, and the maps that hold the counts."""
