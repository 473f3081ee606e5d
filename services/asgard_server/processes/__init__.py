"""What the processes of Asgard share: engines, sockets, signals, health, drain.

The composition roots are run/__main__.py, gateway/__main__.py and all_in_one.py.
"""
