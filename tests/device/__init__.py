"""Transports to devices, against real servers and clients, with faults."""
