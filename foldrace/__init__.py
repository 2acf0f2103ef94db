"""Hyperparameter search for K-fold fine-tuning."""

__version__ = "0.1.0"
