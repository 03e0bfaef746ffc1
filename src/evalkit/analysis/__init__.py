"""What each notebook calls: from a protocol and tables to results, one module a question."""
