"""The parts of the pure-Python backend; ``backends/python.py`` puts them together.

Only ``link`` knows aiomqtt and paho, and only a dial imports it.
"""
