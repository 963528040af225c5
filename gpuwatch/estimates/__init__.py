"""What a run should need, before it starts: from what is to be computed, from pilots, from history.

Every answer is an interval and says what it rests on. Pure but for reading the files it is given.
"""
