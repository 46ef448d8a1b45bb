"""A stand-in for StarCraft II that speaks its protocol and plays the simulator's battles.

Placed where the game's executable belongs (``$SC2PATH/Versions/Base75689/SC2_x64``), it lets the
*unmodified* smac, smacv2 and pysc2 clients play maps of this benchmark without the game: for tests
and continuous integration. It is not StarCraft II, and its version says so. A battle's randomness
follows from the ``random_seed`` of its game and the number of battles before it.
"""
