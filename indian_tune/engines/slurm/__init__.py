"""Workers as jobs of Slurm: an array of them is submitted once, and each queues itself again."""
