"""What `QueueRuntime` promises, on a real Redis and with real worker processes."""
