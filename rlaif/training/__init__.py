"""Learning from judges: the loop, PPO, TRL's trainers, and the run of a run file."""
