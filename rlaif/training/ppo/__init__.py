"""PPO: the formulas, credit, the learner and the trainer."""
