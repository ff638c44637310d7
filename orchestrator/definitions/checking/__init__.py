"""What is wrong, or could be better, with workflow documents: found without running anything."""
