"""All Redis of ours: limits that every worker keeps. Each Lua file lies beside its caller."""
