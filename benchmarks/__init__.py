"""Measurements, each with its command. Numbers belong to the machine they were taken on."""
