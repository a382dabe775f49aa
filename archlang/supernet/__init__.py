"""Supernets: all candidates of a space in one network with shared weights; trained once, cut many times."""
