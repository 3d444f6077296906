"""Brings lifecycle nodes up in order and keeps them up: `managed` is one node's way, the manager the order."""
