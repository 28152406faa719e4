"""What every Flask service has: error responses, the log, commands and status codes."""
