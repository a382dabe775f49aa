"""Other routes to a .tflite file, each a program that runs in a process of its own, maybe in another Python.

None of them imports archlang: the Python that has a peer need not have it.
"""
