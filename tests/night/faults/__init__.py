"""Faults drawn at random, done to real small searches: nothing lost, doubled, untrue or endless.

Each round is a function of the attack's seed and the round's number: `Plan.draw` says what happens
when. How far the processes are when a fault comes is not, so a violation may take several tries.
"""
