"""The face for software agents: the Model Context Protocol over standard input and output."""
