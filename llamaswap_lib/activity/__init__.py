"""What happened: a row for each request, what was captured of it, and the questions that may be asked of both."""
