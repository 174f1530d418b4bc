"""What a run will take, before it takes it: calls and money, memory, time."""
