"""What every supervised process shares: flags, logs, threads, signals."""
