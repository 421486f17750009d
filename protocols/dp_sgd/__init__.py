"""DP-SGD: reference and vectors."""
