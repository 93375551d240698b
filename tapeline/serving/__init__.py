"""Running the parts as processes: workers, child processes, health, logs."""
